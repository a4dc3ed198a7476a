"""`blindsight compare-schemes` on a few photos: one run through real services, looked at from all sides."""

import json
import re
import signal
import sys

import numpy as np
import pytest
from PIL import Image
from support import photos
from support.command import FEW_WORKERS, run, started

from blindsight.cli import app
from blindsight.cli.compare.baselines.programs import CANDIDATES
from blindsight.cli.compare.results import Method
from blindsight.parameters import COLLECTION_SETS

OURS = ("ckks-4096", "bfv-4096", "bfv-8192")
# Paillier encrypts 12,288 numbers on one core, whatever the count of photos.
PATIENCE_SECONDS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three photos and a file that is none."""
    made = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee"):
        (made / f"{name}.jpg").write_bytes(photos.jpeg(name))
    (made / "notes.txt").write_text("no photo")
    return made


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    """The folder of the report, and what --json printed."""
    out = tmp_path_factory.mktemp("report") / "new" / "folder"
    arguments = ["compare-schemes", str(folder), "--images", "6", "--report", str(out), "--json"]
    done = run(*arguments, patience=PATIENCE_SECONDS, **FEW_WORKERS)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout), done.stderr


@pytest.fixture
def schemes(report):
    return {row["name"]: row for row in report[1]["schemes"]}


pytestmark = pytest.mark.timeout(PATIENCE_SECONDS)


def test_everything_is_measured_and_nothing_is_left_out(report, schemes):
    _, document, told = report
    assert list(schemes) == [*OURS, "naive CKKS", "naive BFV", "Paillier", "numpy"]
    assert document["left_out"] == []
    assert document["images"] == {"count": 6, "originals": 3, "skipped": 1, "size": 64}
    assert "6 photos: 3 given photos, and 3 made by altering; 1 file was skipped" in told
    assert told.count("✓") == 6, "one line for every encrypted scheme while it runs"


def test_every_scheme_but_the_naive_ones_finds_the_right_photo_whatever_has_changed(report, schemes):
    _, document, _ = report
    assert [query["name"] for query in document["queries"]] == [
        "the same photo",
        "one pixel changed",
        "mirrored",
    ]
    for name in (*OURS, "Paillier", "numpy"):
        assert schemes[name]["right"] == 3, name
        assert {answer["candidates"] for answer in schemes[name]["answers"]} == {6}


@pytest.mark.parametrize(("name", "error"), [("naive CKKS", 0.1), ("naive BFV", 0)])
def test_a_naive_similarity_is_right_for_the_same_photo_and_overflows_when_a_pixel_has_changed(
    report, schemes, name, error
):
    same, changed, _ = schemes[name]["answers"]
    assert same["right"], "the one case that it was made for"
    assert np.abs(np.array(same["channels"]) - 1).max() <= error  # under CKKS both sums wrap alike
    assert (same["channels"] == [1, 1, 1]) == (error == 0)
    plain = report[1]["queries"][1]["channels"]
    assert min(plain) > 0.99999
    values = np.array(changed["channels"], float)  # a division by zero becomes NaN
    assert not np.all(np.abs(values - plain) < 0.05)
    worst = schemes[name]["max_error"]
    assert worst is None or worst > 0.5


def test_similarities_are_those_of_plaintext_within_what_a_scheme_promises(schemes):
    assert 0 < schemes["ckks-4096"]["max_error"] < 1e-3
    assert schemes["bfv-4096"]["max_error"] < 1e-4
    assert schemes["bfv-8192"]["max_error"] < 1e-4
    assert schemes["Paillier"]["max_error"] < 1e-12


def test_every_figure_is_there_and_only_samples_are_scaled(schemes):
    for name, row in schemes.items():
        assert row["compare_seconds"] > 0
        assert row["bytes_per_image"] > 12_000
        if name != "numpy":
            assert row["keygen_seconds"] > 0
            assert row["encrypt_seconds"] > 0
            assert row["decrypt_seconds"] > 0
        assert bool(row["scaled"]) == name.startswith("naive")


def test_a_naive_row_says_what_was_measured_and_what_was_scaled(schemes):
    for row in (schemes["naive CKKS"], schemes["naive BFV"]):
        assert row["method"] == Method.NAIVE
        assert row["scaled"] == ["encrypt_seconds", "compare_seconds", "decrypt_seconds"]
        assert row["sample"] == "6 encryptions and 12 comparisons"
        assert {answer["candidates"] for answer in row["answers"]} == {CANDIDATES}
        assert row["bytes_per_image"] == pytest.approx(3 * 331_000, rel=0.01)


def test_the_folder_holds_the_page_the_plots_and_the_figures(report):
    out, document, _ = report
    plots = {"time-to-compare.png", "error.png", "bytes-per-image.png", "stages.png"}
    assert {path.name for path in out.iterdir()} == plots | {"report.html", "results.json"}
    assert json.loads((out / "results.json").read_text()) == document
    for name in plots:
        image = Image.open(out / name)
        image.load()
        assert image.width == 1600


def test_the_page_stands_alone_and_says_what_was_measured(report):
    out, document, _ = report
    page = (out / "report.html").read_text()
    assert not re.search(r"https?:|<script|@import|<link", page)
    for sentence in document["verdict"]:
        assert sentence in page.replace("\N{NO-BREAK SPACE}", " ")
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 6
    assert "naive CKKS" in page
    assert "scaled up" in page


def test_a_path_that_is_not_there_is_one_line_and_exit_code_2(tmp_path):
    done = run("compare-schemes", "nowhere", "--report", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "blindsight: error: no such file or folder: nowhere\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_stopped_leaves_nothing_behind(folder, tmp_path, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ["compare-schemes", str(folder), "--images", "6", "--report", str(tmp_path / "out")]
    with started(*arguments, TMPDIR=str(scratch), **FEW_WORKERS) as process:
        assert any("✓ ckks-4096" in line for line in process.stderr)
        [path] = scratch.glob("*/vault/keyholder/log.jsonl")
        with path.open() as log:
            process.send_signal(number)
            assert process.wait(PATIENCE_SECONDS) == 128 + number
            assert "draining" in log.read(), "the services were asked to stop, not killed"
    assert list(scratch.iterdir()) == []
    assert list((tmp_path / "out").iterdir()) == []


def test_without_matplotlib_one_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert app.run(["compare-schemes", ".", "--report", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.endswith("error: the report is drawn by matplotlib: pip install 'blindsight-vault[report]'\n")
    assert not (tmp_path / "out").exists()


def test_a_key_set_says_how_long_each_key_took(tmp_path):
    (tmp_path / "passphrase").write_text("correct horse battery staple\n")
    arguments = ["-o", str(tmp_path / "keys.bsky"), "--passphrase-file", str(tmp_path / "passphrase")]
    document = json.loads(run("keys", "create", *arguments, "--json").stdout)
    assert set(document) == {"file", "key_id", "keygen_seconds"}
    assert set(document["keygen_seconds"]) == set(COLLECTION_SETS)
    assert all(0 < seconds < 60 for seconds in document["keygen_seconds"].values())
