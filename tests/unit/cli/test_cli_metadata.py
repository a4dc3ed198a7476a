"""Lines of JSON about photos and rows: each wrong one is an error that names file and line."""

import json
from dataclasses import replace
from datetime import UTC

import pytest

from blindsight.cli import metadata
from blindsight.client import where
from blindsight.client.inputs import expand
from blindsight.errors import InvalidArgument

VALUES = [1.0, 0.5]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "9" * 400, "-" + "9" * 5000])
def test_a_number_that_is_not_finite_is_none_and_no_text(number, tmp_path, photos):
    with pytest.raises(InvalidArgument, match=r"metadata 'a': .*, want a number from -1.7e308 to 1.7e308"):
        metadata.parse([f"a={number}"])
    path = written(tmp_path / "said.jsonl", f'{{"path": "a.jpg", "metadata": {{"a": {number}}}}}')
    with pytest.raises(InvalidArgument, match=r"line 1: metadata 'a': .*, want a number from"):
        metadata.told(photos, path)


@pytest.fixture
def photos(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"a photo by its name")
    return [replace(one, id=one.name[0]) for one in expand([tmp_path])[0]]


def written(path, *lines):
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines))
    return path


def with_vectors(photos, path):
    return metadata.with_vectors(photos, path, path.read_text())


def of_vector(**said):
    return {"path": "a.jpg", "vectors": [{"values": VALUES, **said}]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nothing", "no JSON"),
        ('"a.jpg"', 'want {"path" or "id"'),
        ({"vectors": [{"values": VALUES}]}, 'want {"path" or "id"'),
        ({"path": 3, "vectors": [{"values": VALUES}]}, "path 3, want a text"),
        ({"path": ["a.jpg"], "vectors": [{"values": VALUES}]}, r"path \['a.jpg'\], want a text"),
        ({"id": ["a"], "vectors": [{"values": VALUES}]}, r"id \['a'\], want a text"),
        ({"id": "", "vectors": [{"values": VALUES}]}, "id '', want a text that is not empty"),
        ({"id": None, "vectors": [{"values": VALUES}]}, "id None, want a text"),
        ({"id": True, "vectors": [{"values": VALUES}]}, "id True, want a text"),
        ({"path": "a.jpg", "id": "", "vectors": [{"values": VALUES}]}, "id '', want a text"),
        ({"path": "a.jpg", "vector": VALUES}, "unknown key 'vector'"),
        ({"path": "a.jpg"}, r"vectors None, want .*values"),
        ({"path": "a.jpg", "vectors": {"values": VALUES}}, "vectors {'values'"),
        ({"path": "a.jpg", "vectors": [VALUES]}, "vector 0 has no values"),
        ({"path": "a.jpg", "vectors": [{"name": "x"}]}, "vector 0 has no values"),
        (of_vector(boxx=[1, 1, 1, 1]), "vector 0: unknown key 'boxx'"),
        (of_vector(name=3), "vector 0: name 3, want a text"),
        (of_vector(box=[1, 2, 3]), "vector 0: box of 3 numbers, want left"),
        (of_vector(box="1234"), "vector 0: box '1234', want a list of numbers"),
        (of_vector(box=[1, 2, True, 4]), "vector 0: box have True"),
        (of_vector(values=[VALUES]), r"vector 0: values have \[1.0, 0.5\], want a list of numbers"),
        (of_vector(values=[1, True]), "vector 0: values have True, want a list of numbers"),
        (of_vector(values=[1, "a"]), "vector 0: values have 'a', want a list of numbers"),
        (of_vector(values=[10**400]), "vector 0: values have a number that is too large"),
        (of_vector(values=[]), r"vector 0: values \[\], want a list of numbers"),
        ('{"path": "a.jpg", "vectors": [{"values": [NaN]}]}', "NaN"),
        ({"path": "c.jpg", "vectors": [{"values": VALUES}]}, "no photo 'c.jpg' is ingested"),
    ],
)
def test_a_line_of_vectors_that_is_wrong_is_named(tmp_path, photos, line, said):
    path = written(tmp_path / "said.jsonl", {"path": "b.jpg", "vectors": [{"values": VALUES}]}, line)
    with pytest.raises(InvalidArgument, match=said) as caught:
        with_vectors(photos, path)
    assert caught.value.message.startswith(f"{path}, line 2: ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"path": 3, "metadata": {}}, "path 3, want a text"),
        ({"id": "", "metadata": {}}, "id '', want a text"),
        ({"path": "a.jpg", "metadata": [1]}, r"metadata \[1\], want"),
        ({"path": "a.jpg", "metdata": {"year": 1}}, "unknown key 'metdata'"),
        ({"path": "a.jpg", "metadata": {"year": None}}, "'year': None, want"),
    ],
)
def test_a_line_of_metadata_that_is_wrong_is_named(tmp_path, photos, line, said):
    path = written(tmp_path / "said.jsonl", line)
    with pytest.raises(InvalidArgument, match=said) as caught:
        metadata.told(photos, path)
    assert caught.value.message.startswith(f"{path}, line 1: ")


def test_two_lines_of_one_photo_are_an_error_that_names_both(tmp_path, photos):
    path = written(tmp_path / "m.jsonl", {"path": "a.jpg", "metadata": {}}, "", {"id": "a", "metadata": {}})
    with pytest.raises(InvalidArgument, match=r"lines 1 and 3 are both of .*a\.jpg"):
        metadata.told(photos, path)
    path = written(tmp_path / "v.jsonl", of_vector(), of_vector(name="Ann"))
    with pytest.raises(InvalidArgument, match="lines 1 and 2 are both of"):
        with_vectors(photos, path)
    path = written(tmp_path / "r.jsonl", {"id": 0, "metadata": {"n": 1}}, {"id": "0", "metadata": {}})
    with pytest.raises(InvalidArgument, match="lines 1 and 2 are both of '0'"):
        metadata.of_rows(None, 2, path)


def test_lines_that_are_right_are_taken_and_a_number_is_a_text_as_an_id(tmp_path, photos):
    line = {**of_vector(name="Ann", box=[1, 2, 3, 4]), "id": 7, "metadata": {"year": 1}}
    path = written(tmp_path / "said.jsonl", line, {"path": "b.jpg", "id": "mine"})
    assert [one.id for one in metadata.told(photos, path)] == ["7", "mine"]
    assert [dict(one.metadata) for one in metadata.told(photos, path)] == [{"year": 1}, {}]
    path = written(tmp_path / "said.jsonl", line)
    [vector] = with_vectors(photos, path)[0].vectors
    assert (vector.values.tolist(), vector.name, vector.box.height) == (VALUES, "Ann", 4.0)


@pytest.mark.parametrize(
    "written", ["2026-05-01", "2026-05-01T12:30", "2026-05-01 12:30:00", "2026-05-01T12:30:00.5"]
)
def test_a_date_or_a_time_is_the_one_that_a_filter_reads(written):
    for quoted in (written, json.dumps(written)):
        values = metadata.parse([f"taken={quoted}"])
        assert values["taken"].tzinfo == UTC
        assert where.parse(f'taken = "{written}"').value == values["taken"]
        if " " not in written:
            assert where.parse(f"taken = {written}").value == values["taken"]


def test_what_is_no_date_stays_a_text():
    said = ["2026-13-01", "2026-05", "2026-05-01 at noon", "20260501x"]
    assert [metadata.parse([f"a={one}"])["a"] for one in said] == said
