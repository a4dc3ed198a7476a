"""`blindsight combine` and `blindsight schemes` as people run them, against services that they started."""

import json

import numpy as np
import pytest
from PIL import Image
from support.command import NO_BULK, Up, run, run_here, run_on_terminal
from support.photos import photo

from blindsight.additive import SCHEMES
from blindsight.parameters import ADDITIVE_SETS, PARAMETER_SETS

FAST = ["--key-bits", "2048"]
WARNING = "not encryption: hides a picture from a glance only"


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    with Up(tmp_path_factory.mktemp("combine") / "data", *NO_BULK) as up:
        yield up


@pytest.fixture
def blind(services):
    """Runs a command against the services; checks the exit code."""

    def call(*arguments, code=0, **options):
        done = run_here(*map(str, arguments), address=services.address, **options)
        assert done.returncode == code, done.stderr
        return done

    return call


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two pictures in colour, two in grey, two arrays, one of another shape."""
    folder = tmp_path_factory.mktemp("files")
    image = photo("astronaut").resize((40, 30))
    other = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name, one in (("a", image), ("b", other)):
        one.save(folder / f"{name}.png")
        one.convert("L").save(folder / f"{name}-grey.png")
    image.resize((20, 30)).save(folder / "small.png")
    np.save(folder / "x.npy", np.arange(-30, 30, dtype=np.int32).reshape(3, 4, 5))
    np.save(folder / "y.npy", 10**12 * np.arange(60).reshape(3, 4, 5))
    np.save(folder / "reals.npy", np.ones((3, 4, 5)) / 3)
    return folder


def pixels(path):
    return np.asarray(Image.open(path), np.int64)


RULES = {
    "clip": lambda difference: np.clip(difference, 0, 255),
    "absolute": np.abs,
    "offset": lambda difference: 128 + difference // 2,
}


@pytest.mark.parametrize("rule", RULES)
def test_a_difference_becomes_the_picture_that_was_asked_for_and_the_answer_says_how(
    blind, files, tmp_path, rule
):
    out = tmp_path / "difference.png"
    done = blind(
        "combine",
        files / "a.png",
        files / "b.png",
        "--weights",
        "1,-1",
        *FAST,
        "-o",
        out,
        "--pixels",
        rule,
        "--json",
    )
    document = json.loads(done.stdout)
    difference = pixels(files / "a.png") - pixels(files / "b.png")
    np.testing.assert_array_equal(pixels(out), RULES[rule](difference))
    clipped = int(np.count_nonzero(difference < 0)) if rule == "clip" else 0
    assert document["output"] == {"path": str(out), "pixels": rule, "clipped_values": clipped}
    assert (document["minimum"], document["maximum"]) == (difference.min(), difference.max())


def test_arrays_come_back_whole_as_npy(blind, files, tmp_path):
    out = tmp_path / "sum.npy"
    done = blind(
        "combine", files / "x.npy", files / "y.npy", files / "x.npy", "--weights", "3,-2,1", *FAST, "-o", out
    )
    expected = 4 * np.load(files / "x.npy") - 2 * np.load(files / "y.npy")
    found = np.load(out)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
    assert "exact" in done.stdout
    assert "weights" in done.stdout
    assert "not hidden" in done.stdout


def test_without_weights_and_output_it_is_the_sum_and_only_told(blind, files):
    document = json.loads(blind("combine", files / "a.png", files / "b.png", *FAST, "--json").stdout)
    total = pixels(files / "a.png") + pixels(files / "b.png")
    assert (document["minimum"], document["maximum"]) == (total.min(), total.max())
    assert (document["weights"], document["shape"], document["output"]) == ([1, 1], [30, 40, 3], None)
    assert (document["scheme"], document["key_bits"], document["warning"]) == ("paillier", 2048, "")
    assert set(document["timings_seconds"]) == {"keygen", "encrypt", "compute", "decrypt", "total"}


def test_grey_is_one_plane(blind, files, tmp_path):
    out = tmp_path / "grey.npy"
    blind("combine", files / "a.png", files / "b.png", "--grey", *FAST, "-o", out)
    np.testing.assert_array_equal(np.load(out), pixels(files / "a-grey.png") + pixels(files / "b-grey.png"))


def test_scramble_warns_in_the_text_and_in_the_json(blind, files, tmp_path):
    out = tmp_path / "d.png"
    given = [
        "combine",
        files / "a.png",
        files / "b.png",
        "--weights",
        "1,-1",
        "--scheme",
        "scramble",
        "-o",
        out,
    ]
    assert f"warning: {WARNING}" in blind(*given).stdout
    assert json.loads(blind(*given, "--json").stdout)["warning"] == WARNING


def test_a_key_that_anybody_can_break_needs_an_option_and_is_called_so(blind, files):
    given = [
        "combine",
        files / "x.npy",
        files / "x.npy",
        "--scheme",
        "lightphe-paillier",
        "--key-bits",
        "512",
    ]
    assert "want at least 2048" in blind(*given, code=2).stderr
    done = blind(*given, "--insecure-small-keys")
    assert "anybody can break it" in done.stdout


BAD = {
    "shapes": (
        ["a.png", "small.png"],
        "input 2 has shape 30 x 20 x 3, input 1 has 30 x 40 x 3: want the same",
    ),
    "a sum under scramble": (
        ["a.png", "b.png", "--scheme", "scramble"],
        "cannot do sums, it can do differences",
    ),
    "reals": (["x.npy", "reals.npy"], "input 2 is float64"),
    "one input": (["a.png"], "1 inputs, want 2 to 16"),
    "no file": (["a.png", "none.png"], "no such file"),
    "weights": (["a.png", "b.png", "--weights", "1;2"], "want integers such as 1,-1"),
    "a weight too few": (["a.png", "b.png", "--weights", "1"], "1 weights for 2 inputs"),
    "an output of another kind": (
        ["a.png", "b.png", "-o", "out.jpg"],
        "want a name that ends in .npy or .png",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_one_line(blind, files, name):
    given, message = BAD[name]
    paths = [files / one if one.endswith((".png", ".npy")) else one for one in given]
    done = blind("combine", *paths, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_array_of_three_planes_is_no_picture(blind, files, tmp_path):
    done = blind("combine", files / "x.npy", files / "x.npy", *FAST, "-o", tmp_path / "x.png", code=1)
    assert "values of shape 3 x 4 x 5 make no picture: use -o OUT.npy" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_terminal_shows_the_stages(services, files):
    shown = run_on_terminal(
        "combine", str(files / "a.png"), str(files / "b.png"), "--key-bits", "2048", address=services.address
    )
    assert shown.returncode == 0
    for word in ("making a key", "encrypting", "decrypting", "rests on factoring"):
        assert word in shown.output


# --- schemes ---------------------------------------------------------------------------------------


def test_schemes_lists_every_scheme_and_needs_no_service():
    document = json.loads(run("schemes", "--json").stdout)
    listed = document["schemes"]
    assert {one["name"] for one in listed if one["kind"] == "additive"} == {
        one.name for one in SCHEMES.values()
    }
    assert {one["parameter_set"] for one in listed if one["kind"] == "ring"} == set(PARAMETER_SETS)
    assert {one["parameter_set"] for one in listed if one["query_visible_to_server"]} == set(ADDITIVE_SETS)
    assert all("search" in one["for"] for one in listed if one["parameter_set"])
    assert {one["warning"] for one in listed if one["name"] == "scramble"} == {WARNING}
    assert not [one for one in listed if one["warning"] and one["name"] != "scramble"]
