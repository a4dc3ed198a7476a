import io
import os
import threading

import numpy as np
import pytest

from blindsight.cli.arrays import load_ids, load_matrix, matrix_or_text, named, picture_or_array
from blindsight.errors import InvalidArgument, InvalidVector


def test_a_matrix_is_mapped_and_not_read(tmp_path):
    np.save(tmp_path / "m.npy", np.ones((4, 3), np.float32))
    loaded = load_matrix(tmp_path / "m.npy")
    assert isinstance(loaded, np.memmap)
    assert loaded.shape == (4, 3)


def write_objects(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def write_several(path):
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3), b=np.ones(3))


def write_cut(path):
    np.save(path, np.ones((100, 100)))
    path.write_bytes(path.read_bytes()[:500])


def write_bad_header(path):
    np.save(path, np.ones((2, 2)))
    path.write_bytes(path.read_bytes().replace(b"descr", b"d\0scr"))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.touch(),
        lambda path: path.write_bytes(b"junk" * 100),
        lambda path: path.write_bytes(b"\x93NUMPY"),
        lambda path: path.mkdir(),
        lambda path: None,
        write_objects,
        write_several,
        write_cut,
        write_bad_header,
    ],
    ids=["empty", "junk", "magic-alone", "folder", "missing", "pickle", "several", "cut", "bad-header"],
)
def test_what_is_no_matrix_is_refused_in_one_line(tmp_path, write):
    path = tmp_path / "m.npy"
    write(path)
    with pytest.raises(InvalidArgument, match=r"m\.npy") as caught:
        load_matrix(path)
    assert "\n" not in caught.value.message


def test_ids_stand_one_a_line(tmp_path):
    (tmp_path / "ids.txt").write_text("first\nsecond one\ndritté\n", encoding="utf-8")
    assert load_ids(tmp_path / "ids.txt") == ["first", "second one", "dritté"]


@pytest.mark.parametrize("data", [None, b"\xff\xfe\x00binary"], ids=["missing", "binary"])
def test_ids_that_cannot_be_read_are_refused(tmp_path, data):
    path = tmp_path / "ids.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InvalidArgument, match=r"ids\.txt"):
        load_ids(path)


def piped(path, data):
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(data,)).start()
    return path


def saved(array):
    with io.BytesIO() as file:
        np.save(file, array)
        return file.getvalue()


def test_what_comes_by_a_pipe_is_read(tmp_path):
    rows = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(load_matrix(piped(tmp_path / "1", saved(rows))), rows)
    np.testing.assert_array_equal(picture_or_array(piped(tmp_path / "2", saved(rows))), rows)
    assert picture_or_array(piped(tmp_path / "3", b"\xff\xd8 photo")) == b"\xff\xd8 photo"
    assert load_ids(piped(tmp_path / "4", b"a\nb\n")) == ["a", "b"]
    with pytest.raises(InvalidArgument, match=r"is not a \.npy file"):
        load_matrix(piped(tmp_path / "5", b""))


def test_the_content_says_whether_a_file_is_a_matrix_or_text(tmp_path):
    for name in ("lines.jsonl", "rows.bin", "plain"):
        path = tmp_path / name
        path.write_bytes(saved(np.eye(2)))
        assert np.array_equal(matrix_or_text(path), np.eye(2))
        path.write_text('{"path": "a"}')
        assert matrix_or_text(path) == '{"path": "a"}'
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(InvalidArgument, match=r"neither a \.npy file nor lines of JSON in UTF-8"):
            matrix_or_text(path)
    piped(tmp_path / "pipe", saved(np.eye(2)))
    assert np.array_equal(matrix_or_text(tmp_path / "pipe"), np.eye(2))
    piped(tmp_path / "another", b'{"path": "a"}')
    assert matrix_or_text(tmp_path / "another") == '{"path": "a"}'


def test_an_error_of_vectors_names_their_file(tmp_path):
    with pytest.raises(InvalidVector, match=r"rows\.npy: row 0 has a NaN"), named(tmp_path / "rows.npy"):
        raise InvalidVector("row 0 has a NaN")
