"""The `blindsight` command as people run it, against three real services that it started itself."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import photos
from support.command import NO_BULK, Up, run, run_here, run_on_terminal, started

import blindsight
from blindsight.errors import AlreadyExists

SEED = np.random.default_rng(7)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    with Up(tmp_path_factory.mktemp("command") / "data", *NO_BULK) as up:
        yield up


@pytest.fixture
def blind(services):
    """Runs a command against the services; checks the exit code."""

    def call(*arguments, code=0, **options):
        done = run_here(*arguments, address=services.address, **options)
        assert done.returncode == code, done.stderr
        return done

    return call


@pytest.fixture
def made(services):
    """Makes a collection, without the command."""

    def create(name: str, **options) -> None:
        with blindsight.connect(services.address) as vault:
            vault.create_collection(name, **options)

    return create


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four photos (one below), one that is cut off, an empty file and one that is no photo."""
    made = tmp_path_factory.mktemp("photos")
    (made / "below").mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        (made / f"{name}.jpg").write_bytes(photos.jpeg(name))
    (made / "below" / "rocket.jpg").write_bytes(photos.jpeg("rocket"))
    (made / "notes.txt").write_text("no photo")
    (made / "empty.jpg").touch()
    (made / "cut.jpg").write_bytes(photos.jpeg("camera")[:3000])
    (made / ".hidden.jpg").write_bytes(photos.jpeg("coins"))
    return made


@pytest.fixture(scope="module")
def filled(services, folder) -> str:
    """The name of a collection with these photos in it."""
    assert run("collection", "create", "photos", address=services.address).returncode == 0
    assert run("ingest", "photos", str(folder), address=services.address).returncode == 0
    return "photos"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory) -> Path:
    """500 vectors of 32 dimensions in a .npy file."""
    path = tmp_path_factory.mktemp("vectors") / "matrix.npy"
    np.save(path, SEED.standard_normal((500, 32)))
    return path


@pytest.fixture(scope="module")
def vectors(services, matrix) -> str:
    """The name of a collection with the vectors in it."""
    created = ["collection", "create", "vectors", "--embedder", "none", "--dimension", "32"]
    assert run(*created, address=services.address).returncode == 0
    ids = matrix.with_name("ids.txt")
    ids.write_text("".join(f"row-{row}\n" for row in range(500)))
    given = ["ingest", "vectors", "--vectors", str(matrix), "--ids", str(ids)]
    assert run(*given, address=services.address).returncode == 0
    return "vectors"


def hits(done) -> list[list[dict]]:
    return json.loads(done.stdout)["results"]


def test_the_version_is_printed():
    assert run("--version").stdout == f"blindsight {blindsight.__version__}\n"


# --- collections -------------------------------------------------------------------------------


def test_a_created_collection_shows_its_parameters_and_is_listed(blind):
    shown = blind("collection", "create", "shown", "--expected-size", "5000").stdout
    for word in ("descriptor", "cosine", "256-bit", "stride", "score error", "5,000"):
        assert word in shown
    assert "shown" in blind("collection", "list").stdout
    listed = json.loads(blind("collection", "list", "--json").stdout)["collections"]
    described = json.loads(blind("collection", "describe", "shown", "--json").stdout)
    assert described in listed
    assert (described["items"], described["expected_size"], described["metric"]) == (0, 5000, "cosine")


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_a_collection_of_every_metric_can_be_made_and_deleted(blind, metric):
    name = f"of-{metric}"
    arguments = ["--embedder", "none", "--dimension", "8", "--metric", metric, "--json"]
    assert json.loads(blind("collection", "create", name, *arguments).stdout)["metric"] == metric
    assert json.loads(blind("collection", "delete", name, "--yes", "--json").stdout) == {
        "deleted": name,
        "items": 0,
    }
    assert "no collection" in blind("collection", "describe", name, code=1).stderr


def test_a_name_that_is_taken_is_one_line(blind, filled):
    done = blind("collection", "create", filled, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("blindsight: error: collection 'photos' exists")
    assert done.stderr.count("\n") == 1


# --- photos ------------------------------------------------------------------------------------


def test_a_folder_goes_in_and_what_is_no_photo_is_counted(made, blind, folder):
    made("counted")
    report = json.loads(blind("ingest", "counted", str(folder), "--json").stdout)
    assert (report["stored"], report["duplicates"], report["rejected"], report["skipped"]) == (5, 0, 1, 2)
    outcomes = {Path(item["path"]).name: item for item in report["items"]}
    assert set(outcomes) == {
        "astronaut.jpg",
        "chelsea.jpg",
        "coffee.jpg",
        "rocket.jpg",
        "cut.jpg",
        "empty.jpg",
    }
    assert (outcomes["empty.jpg"]["outcome"], outcomes["empty.jpg"]["reason"]) == (
        "rejected",
        "INVALID_IMAGE",
    )
    assert outcomes["cut.jpg"]["remark"].endswith("; no search will find it")
    assert outcomes["rocket.jpg"]["id"]
    assert set(report) == {"stored", "duplicates", "rejected", "skipped", "items", "seconds", "per_second"}
    shown = blind("ingest", "counted", str(folder), "--any").stdout
    assert "1 stored, 5 duplicates, 1 rejected" in shown
    assert "1 hidden name skipped; name what shall be taken.\n" in shown
    assert "other file" not in shown
    about = json.loads(blind("collection", "describe", "counted", "--json").stdout)
    assert (about["items"], about["undescribed_items"]) == (6, 2)
    assert "2, in no search" in blind("collection", "describe", "counted").stdout


def test_repeating_an_ingest_stores_nothing_twice(blind, filled, folder):
    done = blind("ingest", filled, str(folder))
    assert "0 stored, 5 duplicates, 1 rejected" in done.stdout
    assert "1 other file skipped: no photos; --any keeps them, too.\n" in done.stdout
    assert "notes.txt" not in done.stdout
    assert json.loads(blind("collection", "describe", filled, "--json").stdout)["items"] == 5


def test_a_quoted_glob_is_expanded(made, blind, folder):
    made("globbed")
    report = json.loads(blind("ingest", "globbed", f"{folder}/**/*.jpg", "--json").stdout)
    assert (report["stored"], report["rejected"]) == (5, 1)


def test_a_photo_takes_what_is_said_of_it_from_the_file_beside_it(made, blind, tmp_path):
    for name in ("coffee", "rocket", "chelsea"):
        (tmp_path / f"{name}.jpg").write_bytes(photos.jpeg(name))
    (tmp_path / "coffee.jpg.json").write_text('{"year": 2014, "place": "Rome", "tags": ["a"]}')
    (tmp_path / "rocket.json").write_text('{"year": 1969}')
    (tmp_path / "chelsea.json").write_text("{'year': 2012}")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "said.jsonl").write_text('{"path": "coffee.jpg", "metadata": {"place": "Oslo"}}')
    made("beside")
    given = ["ingest", "beside", str(tmp_path), "--sidecar"]
    told = ["--metadata", str(tmp_path / "said.jsonl"), "--set", "year=1", "--set", "owner=me"]
    report = json.loads(blind(*given, *told, "--json").stdout)
    assert (report["stored"], report["rejected"], report["skipped"]) == (2, 1, 2)  # notes.txt, said.jsonl
    (rejected,) = (item for item in report["items"] if item["outcome"] == "rejected")
    assert (rejected["path"], rejected["reason"]) == (str(tmp_path / "chelsea.jpg"), "INVALID_ARGUMENT")
    assert rejected["message"] == "chelsea.json: not JSON, want an object of metadata"
    listed = json.loads(blind("items", "list", "beside", "--order", "id", "--json").stdout)["items"]
    assert {item["name"]: item["metadata"] for item in listed} == {
        "coffee.jpg": {"owner": "me", "place": "Oslo", "tags": ["a"], "year": 2014},
        "rocket.jpg": {"owner": "me", "year": 1969},
    }
    # Mended, the same command takes it: nothing of it was lost.
    (tmp_path / "chelsea.json").write_text('{"year": 2012}')
    assert "1 stored, 2 duplicates, 0 rejected" in blind(*given).stdout
    alone = blind("ingest", "beside", str(tmp_path / "chelsea.jpg"), "--sidecar", "--upsert")
    assert "1 stored" in alone.stdout


def test_a_single_file_that_is_rejected_is_a_failure_with_its_reason(blind, filled, folder):
    done = blind("ingest", filled, str(folder / "notes.txt"), "--json", code=1)
    assert json.loads(done.stdout)["rejected"] == 1
    assert f"{folder}/notes.txt: no photo by its name or content: want one, or --any" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_path_that_does_not_exist_stops_the_command_before_anything_is_sent(made, blind, folder):
    made("untouched")
    done = blind("ingest", "untouched", str(folder), "nowhere.jpg", code=2)
    assert done.stderr == "blindsight: error: no such file or folder: nowhere.jpg\n"
    assert json.loads(blind("collection", "describe", "untouched", "--json").stdout)["items"] == 0


def test_an_unseen_crop_finds_its_photo(blind, filled, tmp_path):
    image = photos.photo("chelsea")
    image.crop((20, 15, image.width - 20, image.height - 15)).save(tmp_path / "crop.png")
    done = blind("search", filled, str(tmp_path / "crop.png"), "-k", "3", "--json")
    document = json.loads(done.stdout)
    said = {"query_visible_to_server": False, "quarantined_items": 0, "warnings": [], "passes": []}
    assert document.keys() == said.keys() | {"results", "timings_seconds", "metric", "higher_is_better"}
    assert {name: document[name] for name in said} == said
    [found] = document["results"]
    assert len(found) == 3
    fields = {"id", "score", "name", "channels", "keypoints", "damage", "metadata", "vector"}
    assert all(set(hit) == fields for hit in found)
    assert found[0]["name"] == "chelsea.jpg"
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    assert {"embed", "encrypt", "score", "decrypt", "total"} <= set(document["timings_seconds"])
    assert done.stderr == ""


@pytest.fixture(scope="module")
def shown_to_server(services, folder) -> str:
    """The name of a collection whose searches show their query, with a photo in it."""
    name = "gallery under paillier"
    create = ("collection", "create", name, "--scheme", "paillier", "--embedder", "pixels", "--size", "8")
    assert run(*create, address=services.address).returncode == 0
    assert run("ingest", name, str(folder / "coffee.jpg"), address=services.address).returncode == 0
    return name


def test_a_collection_that_shows_queries_says_so_wherever_it_is_shown(blind, shown_to_server):
    described = blind("collection", "describe", shown_to_server).stdout
    assert re.search(r"search +shows the query to the server", described)
    assert json.loads(blind("collection", "describe", shown_to_server, "--json").stdout)[
        "query_visible_to_server"
    ]
    assert "paillier (shows the query)" in " ".join(blind("collection", "list").stdout.split())


def test_a_query_is_shown_to_the_server_only_when_the_command_says_so(blind, shown_to_server, folder):
    search = ("search", shown_to_server, str(folder / "coffee.jpg"))
    refused = blind(*search, code=2)
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert "the server would see the query's numbers" in line
    assert "--query-visible-to-server" in line
    agreed = blind(*search, "--query-visible-to-server").stdout
    assert "coffee.jpg" in agreed
    assert "The server saw the numbers of the query." in agreed
    document = json.loads(blind(*search, "--query-visible-to-server", "--json").stdout)
    assert document["query_visible_to_server"] is True
    assert document["results"][0][0]["score"] == pytest.approx(1, abs=1e-4)


def test_the_flag_is_refused_where_the_query_is_hidden(blind, filled, folder):
    refused = blind("search", filled, str(folder / "coffee.jpg"), "--query-visible-to-server", code=2)
    (line,) = refused.stderr.splitlines()
    assert "hides the query from the server; leave --query-visible-to-server" in line


def test_matches_are_shown_with_the_latency_split(blind, filled, folder):
    shown = blind("search", filled, str(folder / "coffee.jpg")).stdout
    assert "coffee.jpg" in shown
    assert "rocket.jpg" in shown  # in a folder below; called by the path in the folder
    assert "below/rocket.jpg" in shown
    for stage in ("embed", "encrypt", "score", "decrypt"):
        assert stage in shown


def test_a_report_shows_weak_matches_small(blind, filled, folder, tmp_path):
    query, target = str(folder / "coffee.jpg"), tmp_path / "report"
    document = json.loads(blind("search", filled, query, "--report", str(target), "--json").stdout)
    assert document["report"] == str(target / "report.html")
    page = (target / "report.html").read_text()
    (found,) = document["results"]
    names = ["query.jpg", *(f"match-{rank}.jpg" for rank in range(1, len(found) + 1)), "report.html"]
    assert sorted(path.name for path in target.iterdir()) == sorted(names)
    places = [page.index(f"{rank}. {hit['name']}") for rank, hit in enumerate(found, 1)]
    assert places == sorted(places)
    asked, same, *others = map(int, re.findall(r'style="width: (\d+)px"', page))
    assert same > 0.95 * asked
    assert len(others) == len(found) - 1
    assert all(width < 0.6 * asked for width in others)
    assert "http" not in page.replace("http-equiv", "")


def test_a_report_of_several_photos_has_a_section_of_each(blind, filled, folder, tmp_path):
    queries = [str(folder / name) for name in ("coffee.jpg", "chelsea.jpg")]
    document = json.loads(
        blind("search", filled, *queries, "-k", "2", "--report", str(tmp_path), "--json").stdout
    )
    page = Path(document["report"]).read_text()
    wanted = ["4 matches of 2 queries", "Query 1 of 2", "1. coffee.jpg", "Query 2 of 2", "1. chelsea.jpg"]
    places = [page.index(text) for text in wanted]
    assert places == sorted(places)
    assert "the server saw encrypted queries" in page
    names = [f"{query}-{what}.jpg" for query in (1, 2) for what in ("match-1", "match-2", "query")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "report.html"]


def test_a_report_shows_what_is_like_an_item_with_its_picture(blind, filled, tmp_path):
    item = json.loads(blind("items", "list", filled, "--json").stdout)["items"][0]
    blind("search", filled, "--like", item["id"], "-k", "2", "--report", str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "no picture" not in page
    assert item["id"] in page
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["match-1.jpg", "match-2.jpg", "query.jpg", "report.html"]


def test_a_report_of_vectors_says_which_vector_of_a_photo_was_found(made, blind, folder, tmp_path):
    people = "people"
    made(people, embedder="external", dimension=2)
    about = {
        "path": str(folder / "coffee.jpg"),
        "vectors": [{"values": [1, 0]}, {"values": [0, 1], "name": "Ann"}],
    }
    (tmp_path / "lines").write_text(json.dumps(about))
    blind("ingest", people, str(folder / "coffee.jpg"), "--vectors", str(tmp_path / "lines"))
    np.save(tmp_path / "probe.npy", np.float32([[0, 1]]))
    blind("search", people, "--vectors", str(tmp_path / "probe.npy"), "--report", str(tmp_path / "report"))
    page = (tmp_path / "report" / "report.html").read_text()
    assert "vector 0" in page
    assert page.index("1. coffee.jpg") < page.index("Ann")


def test_a_report_of_raw_pixels_and_of_nothing_is_a_page(made, blind, folder, tmp_path):
    made("raw", embedder="pixels", channels="rgb", size=8)
    query = str(folder / "coffee.jpg")
    blind("search", "raw", query, "--report", str(tmp_path / "empty"))
    assert "No match" in (tmp_path / "empty" / "report.html").read_text()
    blind("ingest", "raw", query, str(folder / "chelsea.jpg"))
    blind("search", "raw", query, "--report", str(tmp_path / "report"))
    page = (tmp_path / "report" / "report.html").read_text()
    assert "squared-cosine, lower is better" in page
    assert page.index("1. coffee.jpg") < page.index("2. chelsea.jpg")


def test_a_threshold_leaves_worse_matches_out(blind, filled, folder):
    query = str(folder / "coffee.jpg")
    [found] = hits(blind("search", filled, query, "--threshold", "0.9999", "--json"))
    assert [hit["name"] for hit in found] == ["coffee.jpg"]
    done = blind("search", filled, query, "--threshold", "1.5")
    assert "No matches." in done.stdout


def test_more_matches_than_items_are_all_items(blind, filled, folder):
    [found] = hits(blind("search", filled, str(folder / "coffee.jpg"), "-k", "1000", "--json"))
    assert len(found) == 4


def test_an_empty_collection_has_no_matches(made, blind, folder):
    made("empty")
    assert hits(blind("search", "empty", str(folder / "coffee.jpg"), "--json")) == [[]]


def test_saved_matches_are_the_originals_under_harmless_names(made, services, blind, folder, tmp_path):
    made("saved")
    with blindsight.connect(services.address) as vault:
        named = [("../../escape\n.txt", photos.jpeg("coffee")), ("", photos.jpeg("rocket"))]
        assert vault.collection("saved").ingest(named).stored == 2
    target = tmp_path / "inner" / "matches"
    blind("search", "saved", str(folder / "coffee.jpg"), "--save", str(target), "--json")
    saved = sorted(path.name for path in target.iterdir())
    assert saved[0] == "01-escape_.jpg"
    assert (target / saved[0]).read_bytes() == photos.jpeg("coffee")
    assert saved[1].startswith("02-")
    assert (target / saved[1]).read_bytes() == photos.jpeg("rocket")
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_a_name_cannot_write_control_characters_to_a_terminal(made, services, blind, folder):
    made("hostile")
    with blindsight.connect(services.address) as vault:
        vault.collection("hostile").ingest(("\x1b]0;owned\x07[red]x.jpg", photos.jpeg("coffee")))
    shown = blind("search", "hostile", str(folder / "coffee.jpg")).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]x.jpg" in shown


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("notes.txt", "notes.txt: photo is not an image"),
        ("empty.jpg", "empty.jpg: photo is empty"),
        ("cut.jpg", "cut.jpg: photo"),
        ("gone.jpg", "no such file"),
        ("below", "is a folder"),
    ],
)
def test_a_query_that_is_no_photo_is_one_line_and_exit_code_2(blind, filled, folder, query, said):
    done = blind("search", filled, str(folder / query), "--json", code=2)
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_photo_comes_back_byte_for_byte(blind, filled, folder, tmp_path):
    [found] = hits(blind("search", filled, str(folder / "astronaut.jpg"), "-k", "1", "--json"))
    target = tmp_path / "back.jpg"
    about = json.loads(blind("get", filled, found[0]["id"], "-o", str(target), "--json").stdout)
    assert target.read_bytes() == photos.jpeg("astronaut")
    assert about == {
        "id": found[0]["id"],
        "name": "astronaut.jpg",
        "media_type": "image/jpeg",
        "size_bytes": len(photos.jpeg("astronaut")),
        "file": str(target),
    }
    piped = blind("get", filled, found[0]["id"], "-o", "-", text=False)
    assert piped.stdout == photos.jpeg("astronaut")


def test_a_photo_comes_back_under_its_name_and_takes_no_place_of_another(
    made, services, folder, monkeypatch, tmp_path
):
    made("named")
    with blindsight.connect(services.address) as vault:
        report = vault.collection("named").ingest(("../trip/rome.JPEG", photos.jpeg("coffee")), planes=True)
    monkeypatch.chdir(tmp_path)
    get = ("get", "named", report.items[0].id)
    first = run(*get, address=services.address)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("rome.JPEG: ")
    assert (tmp_path / "rome.JPEG").read_bytes() == photos.jpeg("coffee")
    (tmp_path / "rome.JPEG").write_bytes(b"mine")
    again = run(*get, "--json", address=services.address)
    assert (again.returncode, again.stdout) == (1, "")
    assert json.loads(again.stderr) == {
        "reason": "FILE_ERROR",
        "message": "rome.JPEG is there already, want -o FILE",
        "metadata": {},
    }
    pixels = run(*get, "--planes", "--json", address=services.address)
    assert json.loads(pixels.stdout)["file"] == "rome.png"
    assert (tmp_path / "rome.JPEG").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rome.JPEG", "rome.png"]


@pytest.mark.parametrize(
    ("item", "said"), [("nope", "no item 'nope'"), ("", "no item"), ("x" * 5000, "no item")]
)
def test_an_item_that_is_not_there_is_one_line_and_leaves_no_file(blind, filled, tmp_path, item, said):
    done = blind("get", filled, item, "-o", str(tmp_path / "x"), code=1)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_deleted_items_are_gone_from_searches_and_repacked_away(made, blind, folder):
    made("shrinking")
    blind("ingest", "shrinking", str(folder))
    query = str(folder / "coffee.jpg")
    [before] = hits(blind("search", "shrinking", query, "--json"))
    done = blind("delete", "shrinking", before[0]["id"], "unheard-of", "--yes", "--json", code=1)
    assert json.loads(done.stdout) == {"deleted": 1, "unknown_ids": ["unheard-of"]}
    assert json.loads(done.stderr) == {
        "reason": "NOT_FOUND",
        "message": "no such item in collection 'shrinking': unheard-of",
        "metadata": {},
    }
    [after] = hits(blind("search", "shrinking", query, "--json"))
    assert [hit["id"] for hit in after] == [hit["id"] for hit in before[1:]]
    repacked = json.loads(blind("repack", "shrinking", "--json").stdout)
    assert repacked["items_done"] == repacked["items_total"] == 4
    [repacked_hits] = hits(blind("search", "shrinking", query, "--json"))
    assert [hit["id"] for hit in repacked_hits] == [hit["id"] for hit in after]
    assert json.loads(blind("collection", "describe", "shrinking", "--json").stdout)["deleted_items"] == 0


def test_the_sdk_takes_photos_in_every_form(services, made, folder):
    made("forms")
    image = photos.photo("coins")
    with blindsight.connect(services.address) as vault:
        forms = vault.collection("forms")
        seen = []
        report = forms.ingest(
            [
                folder / "astronaut.jpg",
                str(folder / "below"),
                f"{folder}/chel*.jpg",
                ("coffee", photos.jpeg("coffee")),
                ("coins", image),
                ("camera", np.asarray(photos.photo("camera").convert("L"))),
                folder / "notes.txt",
            ],
            progress=seen.append,
        )
        assert (report.stored, report.duplicates, report.rejected) == (6, 0, 1)
        assert (seen[-1].done, seen[-1].total) == (7, 7)
        for query, name in [
            (image, "coins"),
            (np.asarray(image), "coins"),
            (photos.jpeg("coffee"), "coffee"),
            (folder / "below" / "rocket.jpg", "rocket.jpg"),
        ]:
            [found] = forms.search(query, k=2).results
            assert found[0].name == name
        original = forms.get(next(item.id for item in report.items if item.path == "coins"))
        assert original.media_type == "image/png"
        assert np.array_equal(np.asarray(original.image()), np.asarray(image))
        assert forms.delete(original.id).deleted == 1
        assert forms.describe().items == 5


def test_the_sdk_takes_photos_from_a_generator_without_keeping_them(services, made):
    made("generated")
    rng = np.random.default_rng(1)
    pictures = ((f"{number}.png", rng.integers(0, 256, (40, 60, 3), np.uint8)) for number in range(30))
    with blindsight.connect(services.address) as vault:
        report = vault.collection("generated").ingest(pictures)
    assert report.stored == 30
    assert [item.path for item in report.items] == [f"{number}.png" for number in range(30)]


# --- vectors -----------------------------------------------------------------------------------


def test_a_batch_of_vectors_is_answered_like_numpy(blind, vectors, matrix):
    rows = np.load(matrix)
    queries = rows[:7] + 0.3 * SEED.standard_normal((7, 32))
    np.save(matrix.with_name("queries.npy"), queries)
    found = hits(
        blind("search", vectors, "--vectors", str(matrix.with_name("queries.npy")), "-k", "10", "--json")
    )
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ unit.T
    assert len(found) == 7
    for row, answered in enumerate(found):
        assert answered[0]["id"] == f"row-{row}"
        for hit in answered:
            assert hit["score"] == pytest.approx(scores[row, int(hit["id"][4:])], abs=2e-4)


def test_one_vector_and_integers_are_taken(blind, vectors, matrix, tmp_path):
    np.save(tmp_path / "one.npy", np.round(np.load(matrix)[3] * 1000).astype(np.int64))
    [found] = hits(blind("search", vectors, "--vectors", str(tmp_path / "one.npy"), "-k", "1", "--json"))
    assert found[0]["id"] == "row-3"


def test_vectors_have_no_originals(blind, vectors, tmp_path):
    assert "it has no original" in blind("get", vectors, "row-1", "-o", str(tmp_path / "x"), code=1).stderr


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.full((3, 32), np.nan), "row 0 has a NaN"),
        (np.vstack([np.ones((2, 32)), np.zeros((1, 32))]), "direction"),
        (np.ones((3, 31)), "31, want 32"),
        (np.ones((3, 32), complex), "complex128"),
        (np.ones((2, 3, 32)), "shape [2, 3, 32]"),
        (np.ones((0, 32)), "shape [0, 32]"),
    ],
    ids=["nan", "zero", "dimension", "complex", "cube", "none"],
)
@pytest.mark.parametrize("way", ["ingest", "search"])
def test_wrong_vectors_are_one_line_and_exit_code_2(blind, vectors, tmp_path, rows, said, way):
    np.save(tmp_path / "wrong.npy", rows)
    done = blind(way, vectors, "--vectors", str(tmp_path / "wrong.npy"), "--json", code=2)
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert json.loads(blind("collection", "describe", vectors, "--json").stdout)["items"] == 500


def test_an_id_that_is_taken_is_a_failure(blind, vectors, matrix, tmp_path):
    (tmp_path / "ids.txt").write_text("row-499\n")
    np.save(tmp_path / "one.npy", np.load(matrix)[:1])
    arguments = ["--vectors", str(tmp_path / "one.npy"), "--ids", str(tmp_path / "ids.txt")]
    assert (
        "item 'row-499' is in collection 'vectors' already"
        in blind("ingest", vectors, *arguments, code=1).stderr
    )


def test_ids_must_match_the_rows(blind, vectors, matrix, tmp_path):
    (tmp_path / "ids.txt").write_text("one\ntwo\n")
    done = blind("ingest", vectors, "--vectors", str(matrix), "--ids", str(tmp_path / "ids.txt"), code=2)
    assert done.stderr == "blindsight: error: 2 ids for 500 rows, want one id for each row\n"


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        (["x.jpg", "--vectors", "x.npy"], "several kinds of queries, want one of"),
        (["x.jpg", "--like", "x"], "several kinds of queries, want one of"),
        ([], "nothing to look for, want"),
    ],
)
def test_a_search_wants_one_kind_of_query(blind, vectors, arguments, got):
    done = blind("search", vectors, *arguments, code=2)
    assert done.stderr.startswith(f"blindsight: error: {got} IMAGE..., --like ID")
    assert done.stderr.count("\n") == 1


def test_what_is_like_an_item_and_its_vector(blind, filled, folder, tmp_path):
    (hits,) = json.loads(blind("search", filled, str(folder / "coffee.jpg"), "-k", "1", "--json").stdout)[
        "results"
    ]
    like = json.loads(blind("search", filled, "--like", hits[0]["id"], "-k", "2", "--json").stdout)
    assert hits[0]["id"] not in [hit["id"] for hit in like["results"][0]]
    blind("items", "vector", filled, hits[0]["id"], "-o", str(tmp_path / "v.npy"))
    shown = json.loads(blind("items", "vector", filled, hits[0]["id"], "--json").stdout)
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), shown["values"], rtol=1e-6)
    refused = blind("items", "vector", filled, hits[0]["id"], "-o", str(tmp_path / "v.png"), code=2)
    assert "want .npy" in refused.stderr


def test_photos_and_vectors_do_not_mix(blind, vectors, filled, folder, matrix):
    done = blind("search", vectors, str(folder / "coffee.jpg"), code=2)
    assert "takes vectors only" in done.stderr
    done = blind("ingest", filled, "--vectors", str(matrix), code=2)
    assert done.stderr.count("\n") == 1


# --- verification ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> tuple[str, str, str]:
    """Files of two vectors that are near each other, and of one that is not."""
    made = tmp_path_factory.mktemp("faces")
    first, noise, third = SEED.standard_normal((3, 128))
    for name, vector in (("a", first), ("b", first + 0.1 * noise), ("c", third[None])):
        np.save(made / f"{name}.npy", vector)
    return tuple(str(made / f"{name}.npy") for name in "abc")


@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_two_vectors_are_verified_as_numpy_would(blind, faces, scheme):
    first, near, far = (np.load(path).ravel() for path in faces)
    for path, other, same in ((faces[1], near, True), (faces[2], far, False)):
        given = ["--metric", "euclidean", "--scheme", scheme, "--threshold", "50", "--json"]
        answer = json.loads(blind("verify", faces[0], path, *given).stdout)
        assert (answer["verified"], answer["threshold"], answer["scheme"]) == (same, 50, scheme)
        assert answer["distance"] == pytest.approx(np.square(first - other).sum(), rel=1e-4, abs=0.1)
        assert set(answer["timings_seconds"]) == {"embed", "encrypt", "compare", "decrypt", "total"}
        assert answer["parameter_set"] == f"{scheme}-4096"
        assert answer["metric"] == "euclidean"


def test_two_photos_are_verified_and_the_line_says_so(blind, folder, tmp_path):
    mirrored = tmp_path / "mirrored.png"
    photos.photo("coffee").transpose(0).save(mirrored)
    same = blind("verify", str(folder / "coffee.jpg"), str(mirrored)).stdout
    assert same.startswith("near duplicate: cosine distance 0.0")
    assert "<= threshold 0.24 (default for photos, descriptor)" in same
    other = blind("verify", str(folder / "coffee.jpg"), str(folder / "chelsea.jpg")).stdout
    assert other.startswith("no near duplicate: cosine distance ")
    assert "> threshold 0.24" in other
    assert "total" not in other
    assert len(other.splitlines()) == 2


def test_a_photo_and_a_vector_are_verified_against_items(blind, filled, vectors, folder, matrix, tmp_path):
    hit = hits(blind("search", filled, str(folder / "coffee.jpg"), "--json"))[0][0]
    given = ["verify", "--collection", filled, "--id", hit["id"]]
    assert json.loads(blind(*given, str(folder / "coffee.jpg"), "--json").stdout)["verified"] is True
    assert blind(*given, str(folder / "chelsea.jpg")).stdout.startswith("no near duplicate")
    assert "notes.txt: photo is not an image" in blind(*given, str(folder / "notes.txt"), code=2).stderr
    row = tmp_path / "row.npy"
    np.save(row, np.load(matrix)[7])
    for item, same in (("row-7", True), ("row-8", False)):
        done = blind("verify", "--collection", vectors, "--id", item, str(row), "--json")
        assert json.loads(done.stdout)["verified"] is same


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["A"], 2, "1 inputs, want two"),
        (["A", "A", "A"], 2, "3 inputs, want two"),
        (["A", "PHOTO"], 2, "one photo and one vector"),
        (["A", "nowhere.npy"], 2, "cannot read"),
        (["A", "nowhere.jpg"], 2, "no such file"),
        (["A", "A", "--scheme", "rot13"], 2, "want one of ckks, bfv"),
        (["A", "A", "--parameter-set", "bfv-4096"], 2, "want ckks"),
        (["A", "A", "--metric", "dot"], 2, "got 'dot', want one of"),
        (["A", "A", "--embedder", "pixels"], 2, "got vectors"),
        (["A", "A", "--threshold", "-1"], 2, "threshold -1"),
        (["A", "--collection", "vectors"], 2, "want both"),
        (["A", "--id", "row-1"], 2, "want both"),
        (["A", "A", "--collection", "vectors", "--id", "row-1"], 2, "want one"),
        (["A", "--collection", "vectors", "--id", "row-1", "--scheme", "bfv"], 2, "--scheme is decided"),
        (["A", "--collection", "vectors", "--id", "row-1"], 2, "dimension 128, want 32"),
        (["PHOTO", "--collection", "vectors", "--id", "row-1"], 2, "vectors only"),
        (["A", "--collection", "vectors", "--id", "nobody"], 1, "no item 'nobody'"),
        (["A", "--collection", "nope", "--id", "x"], 1, "no collection 'nope'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_verified_is_one_line(blind, faces, vectors, folder, arguments, code, said):
    if said.startswith("no item"):
        faces = (str(folder / "row.npy"),)
        np.save(faces[0], np.ones(32))
    places = {"A": faces[0], "PHOTO": str(folder / "coffee.jpg")}
    done = blind("verify", *(places.get(one, one) for one in arguments), "--json", code=code)
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


# --- how much is said --------------------------------------------------------------------------


def test_every_call_is_told_where_it_is_asked_for(blind, filled, folder):
    query = str(folder / "coffee.jpg")
    for arguments in (("-v", "search", filled, query), ("search", filled, query, "--verbose")):
        told = blind(*arguments).stderr
        assert re.search(r"(?m)^blindsight: Search: OK in \d+ ms, request \w+$", told)
        assert "coffee" not in told
    assert blind("search", filled, query).stderr == ""


def test_a_quiet_command_says_nothing_but_its_answer(services, filled, folder):
    terminal = run_on_terminal("ingest", filled, str(folder), "-q", address=services.address)
    assert "ingesting into photos" not in terminal.output
    assert "5 duplicates" in terminal.output
    assert run("-q", "collection", "describe", "nope", address=services.address).stderr.startswith(
        "blindsight: error: no collection"
    )


# --- completion --------------------------------------------------------------------------------


def test_names_of_collections_are_completed_and_none_that_a_shell_would_run(made, services, filled):
    for name in ("phones", "phone $(touch here)", "phone;x"):
        made(name)
    words = {"_BLINDSIGHT_COMPLETE": "complete_bash", "COMP_WORDS": "blindsight search ph", "COMP_CWORD": "2"}
    assert set(run(address=services.address, **words).stdout.split()) == {"phones", filled}
    away = run(address="127.0.0.1:1", **words)
    assert (away.stdout, away.stderr) == ("\n", "")


# --- status, terminals, interruptions ----------------------------------------------------------


def test_the_status_names_every_service_with_what_it_holds(blind, filled, vectors):
    state = json.loads(blind("status", "--json").stdout)
    by_name = {service["name"]: service for service in state["services"]}
    assert set(by_name) == {"keyholder", "evaluator", "storage"}
    assert {name: service["zone"] for name, service in by_name.items()} == {
        "keyholder": "trusted",
        "evaluator": "untrusted",
        "storage": "untrusted",
    }
    for service in state["services"]:
        assert service["reachable"]
        assert service["version"] == blindsight.__version__
        assert service["memory_bytes"] > 1 << 20
    assert by_name["storage"]["items"] >= 504
    assert by_name["storage"]["disk_bytes"] > 1 << 16
    assert {collection["name"] for collection in state["collections"]} >= {filled, vectors}
    shown = blind("status").stdout
    for word in ("keyholder", "evaluator", "storage", "untrusted", "ready", filled):
        assert word in shown


# --- planes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planes(services, folder) -> dict[str, str]:
    """Ids by file of a collection whose photos have planes; `notes` is there without."""
    assert run("collection", "create", "planes", "--scheme", "bfv", address=services.address).returncode == 0
    given = ["ingest", "planes", str(folder / "coffee.jpg"), "--planes", "--json"]
    report = json.loads(run_here(*given, address=services.address).stdout)
    plain = ["ingest", "planes", str(folder / "chelsea.jpg"), "--json"]
    without = json.loads(run_here(*plain, address=services.address).stdout)
    return {"coffee": report["items"][0]["id"], "chelsea": without["items"][0]["id"]}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".PNG"])
def test_pixels_come_back_identical_from_their_planes(blind, planes, tmp_path, suffix):
    target = tmp_path / f"back{suffix}"
    arguments = ["get", "planes", planes["coffee"], "--planes", "-o", str(target)]
    about = json.loads(blind(*arguments, "--json").stdout)
    expected = np.asarray(Image.open(io.BytesIO(photos.jpeg("coffee"))))
    got = np.load(target) if suffix == ".npy" else np.asarray(Image.open(target))
    np.testing.assert_array_equal(got, expected)
    height, width = expected.shape[:2]
    assert about == {
        "id": planes["coffee"],
        "width": width,
        "height": height,
        "channels": 3,
        "size_bytes": target.stat().st_size,
        "file": str(target),
    }
    assert f"{width} x {height} RGB" in blind(*arguments).stdout


def test_planes_are_counted_where_collections_are_shown(blind, planes):
    described = blind("collection", "describe", "planes").stdout
    assert "1 item," in next(line for line in described.splitlines() if line.startswith("planes "))
    about = json.loads(blind("collection", "describe", "planes", "--json").stdout)
    assert (about["plane_items"], about["items"]) == (1, 2)
    assert 0 < about["plane_bytes"] < about["size_bytes"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["get", "planes", "COFFEE", "--planes", "-o", "back.jpg"], 2, "want .png, .tif or .npy"),
        (["get", "planes", "COFFEE", "--planes", "-o", "-"], 2, "want .png, .tif or .npy"),
        (["get", "planes", "CHELSEA", "--planes", "-o", "back.png"], 1, "ingest it again with --planes"),
        (["get", "planes", "unheard-of", "--planes", "-o", "back.png"], 1, "no item 'unheard-of'"),
        (["get", "vectors", "row-1", "--planes", "-o", "back.png"], 2, "holds vectors, which have no planes"),
        (["ingest", "vectors", "--vectors", "x.npy", "--planes"], 2, "--planes keeps the pixels of photos"),
    ],
    ids=["jpeg", "standard output", "without", "unknown", "vectors", "ingest of vectors"],
)
def test_planes_that_cannot_be_had_are_one_line(blind, planes, vectors, tmp_path, arguments, code, said):
    names = {"COFFEE": planes["coffee"], "CHELSEA": planes["chelsea"]}
    places = {"back.jpg": str(tmp_path / "back.jpg"), "back.png": str(tmp_path / "back.png")}
    done = blind(*({**names, **places}.get(one, one) for one in arguments), code=code)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_photo_too_large_for_planes_and_what_is_converted_are_said(made, blind, tmp_path):
    made("said", embedder="pixels")
    Image.new("L", (4100, 2100)).save(tmp_path / "large.png")
    photos.photo("coffee").quantize(16).save(tmp_path / "palette.png")
    told = json.loads(blind("ingest", "said", str(tmp_path), "--planes", "--json").stdout)
    assert (told["stored"], told["rejected"]) == (2, 0)
    large, palette = (item["remark"] for item in told["items"])
    assert "too large for planes" in large
    assert "want at most 8388608" in large
    assert "palette resolved to RGB" in palette


def test_an_unknown_collection_is_one_line_everywhere(blind, folder, matrix, tmp_path):
    for arguments in [
        ["collection", "describe", "nope"],
        ["ingest", "nope", str(folder)],
        ["ingest", "nope", "--vectors", str(matrix)],
        ["search", "nope", str(folder / "coffee.jpg")],
        ["get", "nope", "id", "-o", str(tmp_path / "x")],
        ["repack", "nope"],
    ]:
        done = blind(*arguments, code=1)
        assert done.stdout == ""
        assert done.stderr.startswith("blindsight: error: no collection 'nope'")
        assert done.stderr.count("\n") == 1
        done = blind(*arguments, "--json", code=1)
        assert done.stdout == ""
        told = json.loads(done.stderr)
        assert told["reason"] == "NOT_FOUND"
        assert told["message"].startswith("no collection 'nope'")
        assert told["metadata"]["request_id"]


def test_a_dead_address_is_one_line_everywhere(folder):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        for arguments in [["status"], ["collection", "list"], ["search", "x", str(folder / "coffee.jpg")]]:
            done = run(*arguments, "--address", address)
            assert done.returncode == 1
            # A busy machine takes so long that progress is told, too.
            told = [line for line in done.stderr.splitlines() if not line.endswith(" s so far")]
            said = f"no keyholder answers at {address}; start one with `blindsight up --data DIR`"
            assert told == [f"blindsight: error: {said}"]


def test_a_pipe_that_is_closed_ends_the_command_quietly(services, filled):
    reader, writer = os.pipe()
    os.close(reader)
    done = run("collection", "list", address=services.address, stdout=writer)
    os.close(writer)
    assert done.returncode != 0
    assert done.stderr == ""


def test_progress_is_shown_on_a_terminal_only(services, blind, filled, folder):
    terminal = run_on_terminal("ingest", filled, str(folder), address=services.address)
    assert terminal.returncode == 0
    assert "ingesting into photos" in terminal.output
    assert "5 duplicates" in terminal.output
    assert blind("ingest", filled, str(folder)).stderr == ""


def test_a_collection_is_renamed_given_an_alias_and_truncated(made, blind, folder):
    made("first name")
    blind("ingest", "first name", str(folder / "coffee.jpg"))
    assert blind("collection", "rename", "first name", "second").stdout == "Renamed first name to second.\n"
    assert blind("collection", "alias", "second", "nickname").stdout == "nickname means second.\n"
    told = json.loads(blind("collection", "describe", "nickname", "--json").stdout)
    assert (told["name"], told["aliases"], told["items"]) == ("second", ["nickname"], 1)
    assert "nickname" in blind("collection", "describe", "second").stdout
    assert "nickname" in blind("collection", "list").stdout
    found = json.loads(blind("search", "nickname", str(folder / "coffee.jpg"), "--json").stdout)
    assert found["results"][0][0]["name"] == "coffee.jpg"
    done = blind("collection", "truncate", "nickname", "--yes", code=2)
    assert done.stderr == (
        "blindsight: error: 'nickname' is an alias; want the name of its collection, 'second'\n"
    )
    assert json.loads(blind("collection", "truncate", "second", "--yes", "--json").stdout) == {
        "collection": "second",
        "removed": 1,
    }
    assert blind("collection", "unalias", "nickname").stdout == "nickname means second no more.\n"
    for gone in ("nickname", "first name"):
        assert f"no collection '{gone}'" in blind("items", "count", gone, code=1).stderr
    assert json.loads(blind("collection", "rename", "second", "third", "--json").stdout) == {
        "collection": "third",
        "before": "second",
    }
    blind("collection", "delete", "third", "--yes")


def test_deleting_a_collection_is_confirmed_on_a_terminal(made, services, blind):
    made("precious")
    kept = run_on_terminal(
        "collection", "delete", "precious", address=services.address, answers={"[y/N]": "n\n"}
    )
    assert kept.returncode == 1
    assert "Delete precious with 0 items?" in kept.output
    gone = run_on_terminal(
        "collection", "delete", "precious", address=services.address, answers={"[y/N]": "y\n"}
    )
    assert gone.returncode == 0
    assert "precious" not in blind("collection", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["collection", "delete", "safe"], "Delete safe with 1 item?"),
        (["collection", "accept-rollback", "safe"], "Give up what was written to safe"),
        (["collection", "truncate", "safe"], "Remove all of safe, 1 item?"),
        (["delete", "safe", "ITEM"], "Delete 1 item of safe?"),
        (["delete", "safe", "--where", "not has(year)"], "Delete 1 item of safe?"),
    ],
    ids=["collection", "rollback", "all items", "items", "filter"],
)
def test_nothing_is_destroyed_without_a_word_of_the_owner(made, services, blind, folder, arguments, asked):
    with contextlib.suppress(AlreadyExists):
        made("safe")
    item = json.loads(blind("ingest", "safe", str(folder / "coffee.jpg"), "--json").stdout)["items"][0]["id"]
    command = [item if one == "ITEM" else one for one in arguments]
    for more in ([], ["--json"]):
        done = blind(*command, *more, code=2)
        assert done.stdout == ""
        assert asked in done.stderr
        assert "There is no terminal to ask on, want --yes" in done.stderr
    terminal = run_on_terminal(*command, address=services.address, answers={"[y/N]": "\n"})
    assert terminal.returncode == 1
    assert json.loads(blind("items", "count", "safe", "--json").stdout) == {"items": 1}
    assert blind(*command, "--yes").stderr == ""


def test_a_photo_is_not_written_to_a_terminal(services, filled):
    done = run_on_terminal("get", filled, "any", "-o", "-", address=services.address)
    assert done.returncode == 2
    assert "nothing for a terminal" in done.output


def test_ctrl_c_during_an_ingest_is_one_line_and_keeps_what_was_stored(made, services, blind, tmp_path):
    rows = np.lib.format.open_memmap(tmp_path / "many.npy", mode="w+", dtype=np.float32, shape=(400_000, 64))
    rows[:] = SEED.standard_normal((1, 64))
    rows.flush()
    made("broken-off", embedder="none", dimension=64)
    command = ["ingest", "broken-off", "--vectors", str(tmp_path / "many.npy")]

    def stored() -> int:
        return json.loads(blind("collection", "describe", "broken-off", "--json").stdout)["items"]

    with started(*command, address=services.address) as process:
        while not stored() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "blindsight: interrupted\n"
    settled = stored()
    assert 0 < settled < 400_000
    query = tmp_path / "query.npy"
    np.save(query, rows[0])
    [found] = hits(blind("search", "broken-off", "--vectors", str(query), "-k", "3", "--json"))
    assert len(found) == 3


def test_two_commands_at_once_both_get_right_answers(services, vectors, matrix, tmp_path):
    processes = []
    with contextlib.ExitStack() as stack:
        for row in (11, 12, 13):
            np.save(tmp_path / f"{row}.npy", np.load(matrix)[row])
            query = ["search", vectors, "--vectors", str(tmp_path / f"{row}.npy"), "-k", "1", "--json"]
            process = stack.enter_context(started(*query, address=services.address))
            processes.append((row, process))
        for row, process in processes:
            output, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
            assert json.loads(output)["results"][0][0]["id"] == f"row-{row}"


def test_a_debugger_can_ask_for_the_traceback(services):
    done = run("collection", "describe", "nope", address=services.address, BLINDSIGHT_DEBUG="1")
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("blindsight: error: no collection")


def test_the_command_needs_no_utf8_terminal(made, services, blind, filled, folder):
    made("ascii")
    with blindsight.connect(services.address) as vault:
        vault.collection("ascii").ingest(("café.jpg", photos.jpeg("coffee")))
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run("search", "ascii", str(folder / "coffee.jpg"), address=services.address, **plain)
    assert done.returncode == 0, done.stderr
    assert "caf?.jpg" in done.stdout


# --- pipes, links, homes, and arguments that are no text ---------------------------------------


@pytest.fixture
def coffee(blind, filled, folder) -> tuple[str, bytes]:
    """The id of a photo, and its bytes."""
    [found] = hits(blind("search", filled, str(folder / "coffee.jpg"), "-k", "1", "--json"))
    return found[0]["id"], (folder / "coffee.jpg").read_bytes()


def test_a_photo_goes_into_a_pipe_that_stays_one(blind, filled, coffee, tmp_path):
    item, photo = coffee
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reading = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reading.start()
    blind("get", filled, item, "-o", str(pipe))
    reading.join()
    assert read == [photo]
    assert pipe.is_fifo()
    assert blind("get", filled, item, "-o", "/dev/stdout", text=False).stdout == photo
    done = blind("get", filled, item, "-o", "/dev/stdout", "--json", code=2, text=True)
    assert "cannot take both" in done.stderr


def test_a_picture_of_every_command_goes_to_where_a_link_leads(blind, folder, tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    pair = [str(folder / "coffee.jpg")] * 2
    for arguments in (
        ["combine", *pair, "--weights", "1,-1", "--scheme", "scramble"],
        ["diff", *pair, "--scheme", "scramble"],
    ):
        blind(*arguments, "-o", str(tmp_path / "link.png"))
        assert (tmp_path / "link.png").is_symlink()
        assert (tmp_path / "target.png").read_bytes().startswith(b"\x89PNG")
        (tmp_path / "target.png").unlink()


def test_photos_and_vectors_come_from_pipes(made, blind, filled, vectors, coffee, matrix):
    item, photo = coffee
    made("piped")

    def given(data: bytes, *arguments: str):
        with tempfile.TemporaryFile() as file:  # as of `command < file`, of which the shell has read a line
            file.write(b"a line\n" + data)
            file.flush()
            os.lseek(file.fileno(), len(b"a line\n"), os.SEEK_SET)
            return json.loads(blind(*arguments, "--json", stdin=file.fileno()).stdout)

    assert given(photo, "ingest", "piped", "-")["stored"] == 1
    assert given(photo, "search", filled, "/dev/stdin", "-k", "1")["results"][0][0]["id"] == item
    assert given(photo, "verify", "-", "--collection", filled, "--id", item)["verified"] is True
    with io.BytesIO() as saved:
        np.save(saved, np.load(matrix)[3])
        row = saved.getvalue()
    assert given(row, "search", vectors, "--vectors", "-", "-k", "1")["results"][0][0]["id"] == "row-3"
    assert given(row, "verify", "/dev/stdin", "--collection", vectors, "--id", "row-3")["verified"] is True


def test_a_tilde_that_the_shell_has_left_is_the_home(made, blind, vectors, folder, matrix, tmp_path):
    made("at-home")
    report = json.loads(blind("ingest", "at-home", "~/cof*.jpg", "--json", HOME=str(folder)).stdout)
    assert report["stored"] == 1
    arguments = ["--vectors=~/matrix.npy", "-k", "1", "--json"]
    assert len(hits(blind("search", vectors, *arguments, HOME=str(matrix.parent)))) == 500
    item = report["items"][0]["id"]
    blind("get", "at-home", item, "--output=~/back.jpg", HOME=str(tmp_path))
    assert (tmp_path / "back.jpg").read_bytes() == (folder / "coffee.jpg").read_bytes()


NO_TEXT = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize(
    "arguments",
    [
        ["collection", "create", NO_TEXT],
        ["collection", "create", "new", "--embedder", NO_TEXT],
        ["collection", "describe", NO_TEXT],
        ["ingest", "photos", "PHOTO", "--bulk", "--request-id", NO_TEXT],
        ["search", NO_TEXT, "PHOTO"],
        ["verify", "PHOTO", "PHOTO", "--scheme", NO_TEXT],
        ["get", "photos", NO_TEXT, "-o", "-"],
        ["delete", "photos", NO_TEXT, "--yes"],
        ["filter", "PHOTO", "--op", NO_TEXT, "-o", "out.png"],
        ["diff", "PHOTO", "PHOTO", "--scheme", NO_TEXT, "-o", "out.png"],
        ["jobs", "show", NO_TEXT * 10],
        ["status", "--address", NO_TEXT + ":7420"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]).replace(NO_TEXT, "NAME"),
)
def test_an_argument_that_is_no_text_is_one_line(blind, filled, folder, arguments):
    done = blind(*[str(folder / "coffee.jpg") if one == "PHOTO" else one for one in arguments], code=2)
    assert done.stderr.count("\n") == 1
    assert "Unicode" not in done.stderr


def test_a_photo_that_nobody_reads_ends_the_command_as_a_pipe_does(services, filled, coffee):
    read, write = os.pipe()
    os.close(read)
    done = run("get", filled, coffee[0], "-o", "-", address=services.address, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_full_disk_behind_the_answer_is_one_line(services):
    with Path("/dev/full").open("wb") as full:
        done = run("collection", "list", address=services.address, stdout=full)
    assert (done.returncode, done.stderr) == (1, "blindsight: error: No space left on device\n")
