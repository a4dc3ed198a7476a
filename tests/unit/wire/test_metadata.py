"""What may be said of items, and what is asked of it."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from support.metadata import FILTERS, METADATA

from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire import metadata
from blindsight.wire.metadata import Metadata, Where, checked, from_json, to_json


@given(METADATA)
def test_metadata_pass_a_message_as_they_are(values):
    kept = checked(values)
    passed = Metadata.from_message(pb.Metadata.FromString(Metadata(kept).to_message().SerializeToString()))
    assert passed.values == kept
    assert {key: type(value) for key, value in passed.values.items()} == {
        key: type(value) for key, value in kept.items()
    }


@given(METADATA)
def test_metadata_stand_in_json_as_they_are(values):
    kept = checked(values)
    assert from_json(to_json(kept)) == kept


@given(FILTERS)
def test_a_filter_passes_a_message_as_it_is(wanted):
    sent = Where(wanted).to_message().SerializeToString()
    assert Where.from_message(pb.Filter.FromString(sent)).filter == wanted


def test_whole_numbers_stay_whole_and_times_are_kept_in_utc():
    east = timezone(timedelta(hours=2))
    kept = checked({"b": 3.0, "a": 1 << 60, "t": datetime(2020, 5, 1, 2, tzinfo=east)})
    assert list(kept) == ["a", "b", "t"]
    assert (kept["b"], type(kept["b"])) == (3, int)
    assert (kept["a"], type(kept["a"])) == (float(1 << 60), float)
    assert kept["t"] == datetime(2020, 5, 1, tzinfo=UTC)
    assert checked({"t": date(2020, 5, 1)}) == from_json({"t": "2020-05-01"})
    assert to_json(kept)["t"] == "2020-05-01T00:00:00Z"


def test_numbers_and_truth_values_of_numpy_are_kept_as_those_of_python():
    values = {"a": np.int64(3), "b": np.float32(2.5), "c": np.bool_(True), "d": np.uint8(7), "e": np.array(4)}
    kept = checked(values)
    assert kept == {"a": 3, "b": 2.5, "c": True, "d": 7, "e": 4}
    assert [type(value) for value in kept.values()] == [int, float, bool, int, int]
    for wrong in (np.float64("nan"), np.datetime64(3, "ns"), np.timedelta64(3, "ns"), np.array([1.0])):
        with pytest.raises(InvalidArgument, match="metadata 'a'"):
            checked({"a": wrong})


@pytest.mark.parametrize(
    ("text", "is_time"),
    [
        ("2020-05-01T12:00:00Z", True),
        ("2020-05-01t12:00:00.123456+02:00", True),
        ("2020-05-01 12:00Z", True),
        ("2020-05-01T12:00:00", True),
        ("2020-05-01", True),
        ("2020-13-01T12:00:00Z", False),
        ("x2020-05-01T12:00:00Z", False),
    ],
)
def test_a_text_in_json_is_a_time_if_it_is_one_of_rfc_3339(text, is_time):
    assert isinstance(from_json({"t": text})["t"], datetime) == is_time


WRONG = {
    "no text as key": {1: "a"},
    "an empty key": {"": 1},
    "a key that begins with a digit": {"1a": 1},
    "a key of two words": {"a b": 1},
    "a long key": {"k" * 65: 1},
    "nothing": {"a": None},
    "an object": {"a": {}},
    "a number that is none": {"a": float("nan")},
    "an infinite number": {"a": float("inf")},
    "a number that is too large": {"a": 10**400},
    "a time without a zone": {"a": datetime(2020, 1, 1)},
    "a list of numbers": {"a": [1]},
    "a long list": {"a": ["x"] * 257},
    "many keys": {f"k{number}": 1 for number in range(65)},
    "long texts": {"a": "x" * 16385},
    "texts that are long as they are sealed": {"a": "\x01" * 2800},
    "half a character": {"a": "\ud800"},
}


@pytest.mark.parametrize("values", WRONG.values(), ids=WRONG)
def test_what_is_no_metadata_is_refused_in_one_line(values):
    with pytest.raises(InvalidArgument, match=r"^[^\n]{10,250}$"):
        checked(values)


def test_a_message_with_what_is_no_value_is_refused():
    empty = pb.Metadata()
    empty.values["a"].SetInParent()
    far = pb.Metadata()
    far.values["a"].time.seconds = 1 << 62
    for message in (empty, far):
        with pytest.raises(InvalidArgument, match="want"):
            Metadata.from_message(message)


def _nested(levels: int) -> pb.Filter:
    message = pb.Filter()
    message.has.key = "a"
    for _ in range(levels):
        outer = pb.Filter()
        outer.negated.CopyFrom(message)
        message = outer
    return message


def _wide(parts: int) -> pb.Filter:
    message = pb.Filter()
    for _ in range(parts):
        message.all.filters.add().has.key = "a"
    return message


BAD_FILTERS = {
    "nothing": pb.Filter(),
    "a nothing within": pb.Filter(negated=pb.Filter()),
    "no operator": pb.Filter(comparison=pb.Comparison(key="a", value=pb.Value(number=1))),
    "an operator of the future": pb.Filter(
        comparison=pb.Comparison(key="a", operator=99, value=pb.Value(number=1))  # type: ignore[arg-type]
    ),
    "no value": pb.Filter(comparison=pb.Comparison(key="a", operator=pb.OPERATOR_EQUAL)),
    "no key": pb.Filter(has=pb.Presence()),
    "a list": pb.Filter(
        comparison=pb.Comparison(key="a", operator=pb.OPERATOR_EQUAL, value=pb.Value(texts=pb.Texts()))
    ),
    "a flag that is less": pb.Filter(
        comparison=pb.Comparison(key="a", operator=pb.OPERATOR_LESS, value=pb.Value(flag=True))
    ),
    "a number that matches": pb.Filter(
        comparison=pb.Comparison(key="a", operator=pb.OPERATOR_MATCH, value=pb.Value(number=1))
    ),
    "a box upside down": pb.Filter(within=pb.GeoBox(south=1, north=0)),
    "a box beyond the pole": pb.Filter(within=pb.GeoBox(south=1, north=91)),
    "a box that is none": pb.Filter(within=pb.GeoBox(south=float("nan"))),
    "too deep": _nested(metadata.MOST_DEPTH + 1),
    "too wide": _wide(metadata.MOST_NODES),
}


@pytest.mark.parametrize("message", BAD_FILTERS.values(), ids=BAD_FILTERS)
def test_what_is_no_filter_is_refused_in_one_line(message):
    with pytest.raises(InvalidArgument, match=r"^[^\n]{10,250}$"):
        Where.from_message(message)


def test_filters_up_to_the_limits_are_taken():
    Where.from_message(_nested(metadata.MOST_DEPTH))
    Where.from_message(_wide(metadata.MOST_NODES - 1))
