"""Sidecar files: found beside photos, read with them, and never counted among what is left out."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blindsight.client import sidecars
from blindsight.client.inputs import Photo, Sieve, expand
from blindsight.errors import InvalidArgument

MAY = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "c.png", "below/a.jpg"):
        (tmp_path / name).write_bytes(b"a photo by its name")
    said = {"a.jpg.json": {"year": 1}, "a.json": {"year": 2}, "c.json": {"taken": "2026-05-01T12:00:00Z"}}
    for name, values in said.items():
        (tmp_path / name).write_text(json.dumps(values))
    (tmp_path / "notes.txt").write_text("no photo")
    return tmp_path


def told(inputs, sieve: Sieve) -> dict[str, object]:
    return {source.name: source.said() for source in expand(inputs, sieve)[0]}


def test_each_photo_gets_what_the_file_beside_it_says_and_its_own_goes_before_a_shared_one(folder):
    sieve = Sieve(sidecar=True)
    assert told([folder], sieve) == {
        "a.jpg": {"year": 1},
        "b.jpg": {},
        "below/a.jpg": {},
        "c.jpg": {"taken": MAY},
        "c.png": {"taken": MAY},
    }
    assert sieve.skipped == 2  # notes.txt, and a.json, which says nothing of any photo


def test_a_photo_that_is_named_has_its_sidecar_file_too_and_its_own_words_go_before(folder):
    given = [Photo(folder / "a.jpg", metadata={"place": "Rome"}), ("named", folder / "b.jpg")]
    assert told(given, Sieve(sidecar=True)) == {"a.jpg": {"place": "Rome", "year": 1}, "named": {}}
    assert told([Photo(folder / "a.jpg", metadata={"year": 3})], Sieve(sidecar=True)) == {
        "a.jpg": {"year": 3}
    }


def test_unless_they_are_asked_for_they_are_files_as_any_other(folder):
    sieve = Sieve()
    assert not any(told([folder], sieve).values())
    assert sieve.skipped == 4
    everything = told([folder], Sieve(any=True, sidecar=True))
    assert everything["a.jpg.json"] == everything["c.json"] == {}
    assert everything["c.png"] == {"taken": MAY}


def test_photos_that_come_one_by_one_have_theirs(folder):
    sieve = Sieve(sidecar=True)
    assert told((folder / name for name in ("a.jpg", "c.png")), sieve) == {
        "a.jpg": {"year": 1},
        "c.png": {"taken": MAY},
    }


def test_a_photo_whose_sidecar_file_would_have_too_long_a_name_has_none(folder):
    (folder / ("x" * 250)).write_bytes(b"its sidecar file's name would be too long")
    assert told([folder / ("x" * 250)], Sieve(any=True, sidecar=True)) == {"x" * 250: {}}


@pytest.mark.parametrize("name", ["b.jpg.json", "b.json"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "a folder or no regular file"),
        (os.mkfifo, "a folder or no regular file"),
        (lambda path: path.symlink_to("nothing"), "cannot be read: a link to nothing"),
        (lambda path: path.symlink_to(path.name), "cannot be read: a link to nothing"),
    ],
    ids=["folder", "pipe", "link to nothing", "ring"],
)
def test_what_is_called_so_and_cannot_be_read_rejects_the_photo_and_is_not_listed_itself(
    folder, name, make, said
):
    make(folder / name)
    sieve = Sieve(sidecar=True)
    found = {source.name: source for source in expand([folder], sieve)[0]}
    assert found.keys() == {"a.jpg", "b.jpg", "c.jpg", "c.png", "below/a.jpg"}
    assert sieve.skipped == 2  # as before
    with pytest.raises(InvalidArgument, match=f"^{name}: {said}"):
        found["b.jpg"].said()
    assert found["a.jpg"].said() == {"year": 1}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", "not JSON, want an object of metadata"),
        (b"{", "not JSON, want an object of metadata"),
        (b"\xff\xfe\x00", "not JSON, want an object of metadata"),
        (b"[" * 100_000, "not JSON, want an object of metadata"),
        (b"[1]", r"JSON of another kind \(list\), want an object of metadata"),
        (b"null", r"JSON of another kind \(NoneType\), want"),
        (b'{"year": null}', "metadata 'year': None, want a text, a number"),
        (b'{"year": NaN}', "metadata 'year': nan, want a number from"),
        (b'{"a": {"b": 1}}', "metadata 'a': {'b': 1}, want a text"),
        (b'{"no key": 1}', "metadata key 'no key', want a word"),
        (b'{"a": "\\ud800"}', "metadata 'a' is no UTF-8 text"),
        (b'{"a": ' + b"9" * 5000 + b"}", "metadata 'a': inf, want a number from"),
        (b'{"a": "' + b"x" * 20_000 + b'"}', "bytes, want at most 16,384"),
        (b'{"a": "' + b"x" * (1 << 20) + b'"}', "more than 1,048,576 bytes, want"),
    ],
    ids=range(14),
)
def test_a_wrong_one_is_one_line_that_names_it(tmp_path, written, said):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.jpg.json").write_bytes(written)
    [source] = expand([tmp_path / "a.jpg"], Sieve(sidecar=True))[0]
    with pytest.raises(InvalidArgument, match=f"^a.jpg.json: {said}|^a.jpg.json: .*{said}") as caught:
        source.said()
    assert "\n" not in caught.value.message


def test_one_that_has_gone_meanwhile_is_one_line(tmp_path):
    with pytest.raises(InvalidArgument, match=r"^a\.json: cannot be read: No such file"):
        sidecars.read(tmp_path / "a.json")


def test_a_link_to_a_folder_in_the_place_of_a_sidecar_file_is_told_with_its_photo_alone(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "d.jpg").write_bytes(b"a photo by its name")
    for name in ("d.json", "link"):
        (folder / name).symlink_to(tmp_path / "elsewhere")
    found = {one.name: one for one in expand([folder], Sieve(sidecar=True))[0]}
    assert "d.json" not in found
    assert "link" in found
    with pytest.raises(InvalidArgument, match=r"d.json: a folder or no regular file"):
        found["d.jpg"].said()
