"""`blindsight filter` and `blindsight diff` as people run them, against services that they started."""

import base64
import io
import json
import re

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data
from support.command import NO_BULK, Up, run, run_here, run_on_terminal

CAMERA = data.camera()[60:220:2, 200:340:2]
COLOUR = data.astronaut()[0:160:2, 160:300:2]


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    with Up(tmp_path_factory.mktemp("imaging") / "data", *NO_BULK) as up:
        yield up


@pytest.fixture(scope="module")
def blind(services):
    """Runs a command against the services; checks the exit code."""

    def call(*arguments, code=0, **options):
        done = run_here(*map(str, arguments), address=services.address, **options)
        assert done.returncode == code, done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures in grey and in colour, one of another size, kernels."""
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(CAMERA).save(folder / "grey.png")
    Image.fromarray(COLOUR).save(folder / "a.png")
    Image.fromarray(COLOUR[:, ::-1]).save(folder / "b.png")
    Image.fromarray(COLOUR[:-1]).save(folder / "small.png")
    Image.fromarray(CAMERA.astype(np.uint16) * 257).save(folder / "deep.png")
    (folder / "kernel.txt").write_text("0 0.25 0\n0.25, 0, 0.25\n\n0 0.25 0\n")
    (folder / "even.txt").write_text("1 1\n1 1\n")
    (folder / "words.txt").write_text("one two\n")
    (folder / "nothing.txt").write_text("\n")
    (folder / "ragged.txt").write_text("1 2 3\n1 2\n")
    (folder / "infinite.txt").write_text("1 1e999 1\n")
    (folder / "huge.txt").write_text("1e6 1e6 1e6\n")
    (folder / "empty.png").touch()
    np.save(folder / "complex.npy", np.full((3, 3), 1j))
    np.save(folder / "kernel.npy", np.full((3, 3), 1 / 9))
    return folder


def pixels(path):
    return np.asarray(Image.open(path), np.int64)


def test_a_filtered_picture_is_written_and_the_answer_says_how_it_came_about(blind, files, tmp_path):
    done = blind("filter", files / "grey.png", "--op", "gaussian:5", "-o", tmp_path / "out.png", "--json")
    assert np.abs(pixels(tmp_path / "out.png") - cv2.GaussianBlur(CAMERA, (5, 5), 0)).max() <= 1
    told = json.loads(done.stdout)
    assert (told["scheme"], told["kind"], told["round_trips"]) == ("bfv", "pixels", 1)
    assert told["output"] == {"path": str(tmp_path / "out.png"), "pixels": "as they are"}
    assert told["timings_seconds"]["total_seconds"] > 0


def test_a_picture_is_filtered_under_paillier(blind, files, tmp_path):
    out = tmp_path / "out.png"
    paillier = "--scheme", "paillier", "--key-bits", "2048"
    done = blind("filter", files / "grey.png", "--op", "sharpen", *paillier, "-o", out, "--json")
    cross = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    wanted = np.clip(cv2.filter2D(CAMERA.astype(np.float64), -1, cross), 0, 255)
    np.testing.assert_array_equal(pixels(out), wanted)
    told = json.loads(done.stdout)
    assert (told["scheme"], told["key_bits"], told["error_bound"]) == ("paillier", 2048, 0)


def test_several_operations_and_kernels_from_files_are_taken_in_order(blind, files, tmp_path):
    operations = ["--op", f"custom:{files / 'kernel.txt'}", "--op", f"custom:{files / 'kernel.npy'}"]
    blind(
        "filter",
        files / "a.png",
        *operations,
        "--scheme",
        "ckks",
        "--border",
        "replicate",
        "-o",
        tmp_path / "o.npy",
    )
    cross = np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]])
    padded = cv2.copyMakeBorder(COLOUR.astype(float), 9, 9, 9, 9, cv2.BORDER_REPLICATE)
    wanted = cv2.blur(cv2.filter2D(padded, -1, cross), (3, 3))[9:-9, 9:-9]
    found = np.load(tmp_path / "o.npy")
    assert found.dtype == np.uint8
    assert np.abs(found - wanted).max() <= 1


def test_morphology_is_opencvs_and_the_answer_says_what_it_took(blind, files, tmp_path):
    operations = ["--op", "threshold:otsu", "--op", "open:5:disc"]
    done = blind("filter", files / "grey.png", *operations, "-o", tmp_path / "open.png", "--json")
    binary = cv2.threshold(CAMERA, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    np.testing.assert_array_equal(
        pixels(tmp_path / "open.png"), cv2.morphologyEx(binary, cv2.MORPH_OPEN, element)
    )
    told = json.loads(done.stdout)
    assert (told["levels"], told["round_trips"], told["ciphertexts"]) == (2, 2, 8)
    dark = ("--op", "erode:3:square:16", "--border", "constant")
    seen = blind("filter", files / "grey.png", *dark, "-o", tmp_path / "erode.png").stdout
    assert "erode, square of 3: 16 levels of grey (pixels brought to the nearest of 16)" in " ".join(
        seen.split()
    )
    grey = np.rint(np.rint(CAMERA / 17) * 17).astype(np.uint8)
    eroded = cv2.erode(grey, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    np.testing.assert_array_equal(pixels(tmp_path / "erode.png"), eroded)


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("offset", lambda values: 128 + values // 2),
        ("absolute", np.abs),
        ("clip", lambda values: values),
    ],
)
def test_negative_values_become_the_pixels_that_were_asked_for(blind, files, tmp_path, rule, shown):
    out = tmp_path / "out.png"
    done = blind("filter", files / "grey.png", "--op", "sobel:x", "--pixels", rule, "-o", out, "--json")
    values = cv2.Sobel(CAMERA, cv2.CV_64F, 1, 0).astype(np.int64)
    np.testing.assert_array_equal(pixels(out), np.clip(shown(values), 0, 255))
    assert json.loads(done.stdout)["minimum"] == values.min()


def test_people_read_what_was_done_and_see_progress(services, files, tmp_path):
    command = ("filter", str(files / "deep.png"), "--op", "sobel:orientation", "-o", str(tmp_path / "o.png"))
    seen = run_on_terminal(*command, address=services.address)
    assert seen.returncode == 0
    for text in (
        "70 x 80 grey",
        "sobel:orientation (not hidden)",
        "bfv-4096",
        "1 round trip",
        "a whole turn",
    ):
        assert text in seen.output
    assert "more than 8 bits a channel brought to 8" in seen.output
    assert "computing" in seen.output


def test_a_difference_is_written_in_every_mode(blind, files, tmp_path):
    signed = COLOUR.astype(np.int64) - COLOUR[:, ::-1]
    pair = files / "a.png", files / "b.png"
    blind("diff", *pair, "-o", tmp_path / "signed.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "signed.npy"), signed)
    blind("diff", *pair, "-o", tmp_path / "signed.png", "--scheme", "ckks")
    np.testing.assert_array_equal(pixels(tmp_path / "signed.png"), 128 + signed // 2)
    blind("diff", *pair, "-o", tmp_path / "absolute.png", "--mode", "absolute")
    np.testing.assert_array_equal(pixels(tmp_path / "absolute.png"), np.abs(signed))
    over = ("--mode", "threshold", "--threshold", 40)
    done = blind("diff", *pair, "-o", tmp_path / "over.png", *over, "--json")
    np.testing.assert_array_equal(pixels(tmp_path / "over.png"), np.where(np.abs(signed) > 40, 255, 0))
    assert json.loads(done.stdout)["over_threshold"] == np.count_nonzero(np.abs(signed) > 40)


def report(blind, files, tmp_path, *options):
    """The page of a report of two pictures, and what it says of the first as the server saw it."""
    folder = tmp_path / "report"
    arguments = ("-o", tmp_path / "d.png", "--report", folder, "--json", *options)
    told = json.loads(blind("diff", files / "a.png", files / "b.png", *arguments).stdout)
    assert told["report"] == str(folder / "report.html")
    return (folder / "report.html").read_text(), pixels(folder / "server-a.png")


def test_a_report_shows_all_that_the_server_saw_in_one_page_of_its_own(blind, files, tmp_path):
    page, seen = report(blind, files, tmp_path)
    folder = tmp_path / "report"
    names = {"a.png", "b.png", "difference.png", "server-a.png", "server-b.png", "server-difference.png"}
    assert {path.name for path in folder.iterdir()} == {*names, "report.html"}
    np.testing.assert_array_equal(pixels(folder / "a.png"), COLOUR)
    np.testing.assert_array_equal(pixels(folder / "difference.png"), pixels(tmp_path / "d.png"))
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [Image.open(io.BytesIO(base64.b64decode(one))).size for one in embedded] == [(70, 80)] * 6
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "$" not in page
    assert "prefers-color-scheme: dark" in page
    assert "read none" in page
    assert len(np.unique(seen)) == 256


def test_a_report_on_scramble_says_that_the_server_could_read_every_value(blind, files, tmp_path):
    page, seen = report(blind, files, tmp_path, "--scheme", "scramble", "--grey")
    assert "could read every one" in page
    assert "not encryption: hides a picture from a glance only" in page
    grey = np.asarray(Image.fromarray(COLOUR).convert("L"))
    # In another order, and half of them inverted.
    folded = [np.sort(np.minimum(one, 255 - one), axis=None) for one in (seen, grey.astype(int))]
    np.testing.assert_array_equal(*folded)


@pytest.fixture(scope="module")
def ids(blind, files):
    blind("collection", "create", "album", "--scheme", "bfv", "--embedder", "pixels")
    told = json.loads(blind("ingest", "album", files / "a.png", files / "b.png", "--planes", "--json").stdout)
    return {item["path"].rpartition("/")[2]: item["id"] for item in told["items"]}


def test_stored_photos_are_filtered_and_compared_by_id(blind, files, ids, tmp_path):
    album = ("--collection", "album")
    told = blind(
        "diff", *album, "--id", ids["a.png"], "--id", ids["b.png"], "-o", tmp_path / "d.npy", "--json"
    )
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), COLOUR.astype(int) - COLOUR[:, ::-1])
    assert json.loads(told.stdout)["sent_bytes"] == 0
    report = ("--report", tmp_path / "report")
    blind("diff", files / "a.png", *album, "--id", ids["b.png"], "-o", tmp_path / "mixed.npy", *report)
    np.testing.assert_array_equal(np.load(tmp_path / "mixed.npy"), np.load(tmp_path / "d.npy"))
    np.testing.assert_array_equal(pixels(tmp_path / "report" / "b.png"), COLOUR[:, ::-1])
    blind("filter", *album, "--id", ids["a.png"], "--op", "brightness:-20", "-o", tmp_path / "f.png")
    np.testing.assert_array_equal(pixels(tmp_path / "f.png"), np.clip(COLOUR.astype(int) - 20, 0, 255))


REFUSED = {
    "an unknown operation": (
        ["filter", "grey.png", "--op", "blur"],
        "operation 'blur', want one of box, gaussian, ",
    ),
    "an even kernel": (
        ["filter", "grey.png", "--op", "custom:even.txt"],
        "kernel of 2 x 2, want odd numbers",
    ),
    "an even size": (["filter", "grey.png", "--op", "box:4"], "box of size 4, want an odd size of 1 to 31"),
    "an unknown element": (
        ["filter", "grey.png", "--op", "erode:3:star"],
        "element 'star', want one of square, cross, disc",
    ),
    "negative values": (
        ["filter", "grey.png", "--op", "sharpen", "--op", "erode:31", "--op", "sobel:x", "--op", "close"],
        "operation 'close' after a map of differences",
    ),
    "no kernel": (["filter", "grey.png", "--op", "custom:none.txt"], "cannot read "),
    "a kernel of words": (
        ["filter", "grey.png", "--op", "custom:words.txt"],
        "words.txt holds something else",
    ),
    "an empty kernel": (
        ["filter", "grey.png", "--op", "custom:nothing.txt"],
        "nothing.txt is empty, want rows of numbers",
    ),
    "a kernel without a file": (
        ["filter", "grey.png", "--op", "custom:"],
        "operation 'custom:' without a file, want custom:FILE",
    ),
    "a kernel of rows of several lengths": (
        ["filter", "grey.png", "--op", "custom:ragged.txt"],
        "kernel that is not a matrix of numbers, want rows of one length",
    ),
    "a kernel without an end": (
        ["filter", "grey.png", "--op", "custom:infinite.txt"],
        "kernel with a number that is not finite, want finite ones",
    ),
    "a complex kernel": (
        ["filter", "grey.png", "--op", "custom:complex.npy"],
        "kernel that is not a matrix of numbers",
    ),
    "a kernel that overflows": (
        ["filter", "grey.png", "--op", "custom:huge.txt"],
        "magnitudes of its weights sum to 3e+06 (offset 0), want at most 2105376 under bfv-4096",
    ),
    "a size too large": (
        ["filter", "grey.png", "--op", "gaussian:33"],
        "gaussian of size 33, want an odd size of 1 to 31",
    ),
    "no border": (
        ["filter", "grey.png", "--op", "box:3", "--border", "wrap"],
        "border 'wrap', want one of reflect, constant, replicate",
    ),
    "an empty file": (["filter", "empty.png", "--op", "box:3"], "photo is empty: 0 bytes, want an image"),
    "no scheme of keypoints": (
        ["match", "a.png", "b.png", "--scheme", "paillier"],
        "scheme 'paillier' for keypoints, want one of ckks, bfv",
    ),
    "no picture": (["filter", "--op", "box:3"], "0 files and 0 ids, want 1 picture: files, or --collection"),
    "two pictures": (["filter", "a.png", "b.png", "--op", "box:3"], "extra argument"),
    "an id alone": (["filter", "--id", "x", "--op", "box:3"], "want both --collection NAME and --id ID"),
    "no file": (["filter", "nothing.png", "--op", "box:3"], "no such file: "),
    "no picture's file": (["filter", "words.txt", "--op", "box:3"], "words.txt: photo is not an image"),
    "no picture's keypoints": (["keypoints", "words.txt"], "words.txt: photo is not an image"),
    "another size": (
        ["diff", "a.png", "small.png"],
        "A is 70 x 80 pixels and B is 70 x 79, want the same size",
    ),
    "one of two": (["diff", "a.png"], "1 files and 0 ids, want 2 pictures"),
    "no mode": (
        ["diff", "a.png", "b.png", "--mode", "xor"],
        "mode 'xor', want one of signed, absolute, threshold",
    ),
    "a threshold for nothing": (["diff", "a.png", "b.png", "--threshold", "3"], "want --mode threshold"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_one_line(blind, files, tmp_path, name):
    arguments, said = REFUSED[name]
    there = {path.name for path in files.iterdir()}
    own = [one if one == "custom:" else one.replace("custom:", f"custom:{files}/") for one in arguments]
    placed = [files / one if one in there or one == "nothing.png" else one for one in own]
    done = blind(*placed, "-o", tmp_path / "o.png", code=2)
    (line,) = done.stderr.splitlines()
    assert said in line
    assert not done.stdout
    assert not (tmp_path / "o.png").exists()


def test_ids_that_cannot_be_used_are_one_line(blind, files, ids, tmp_path):
    bare = json.loads(blind("ingest", "album", files / "grey.png", "--json").stdout)["items"][0]["id"]
    for given, said in (
        (("album", "nobody"), "no item 'nobody' in collection 'album'"),
        (("album", bare), "has no planes: delete it, and ingest it again with --planes"),
        (("nowhere", "a"), "no collection 'nowhere'"),
    ):
        place = "--collection", given[0], "--id", given[1]
        done = blind("filter", *place, "--op", "box:3", "-o", tmp_path / "o.png", code=1)
        (line,) = done.stderr.splitlines()
        assert said in line


@pytest.mark.parametrize(
    "command", [["filter", "a.png", "--op", "box:3"], ["diff", "a.png", "b.png"], ["match", "a.png", "b.png"]]
)
def test_a_result_that_could_not_be_written_is_refused_before_anything_is_sent(files, tmp_path, command):
    placed = [str(files / one) if one.endswith(".png") else one for one in command]
    (tmp_path / "folder.png").mkdir()
    for to, said in (("missing/o.png", "cannot write "), ("folder.png", "is a folder, want a file to write")):
        # Nobody listens there.
        done = run(*placed, "-o", str(tmp_path / to), address="127.0.0.1:1")
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1
        assert said in line


def test_a_file_that_would_lose_pixels_is_refused(blind, files, tmp_path):
    done = blind("filter", files / "a.png", "--op", "box:3", "-o", tmp_path / "o.jpg", code=2)
    assert (
        done.stderr
        == "blindsight: error: pixels go to a file that keeps every one: got o.jpg, want .png, .tif or .npy\n"
    )
