"""Every message of storage and of the evaluator has a record, which comes back from its bytes as it was."""

import inspect
from collections import ChainMap
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.errors import InvalidArgument
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.scale_space import MAX_SCALE_BITS, ScaleImage
from blindsight.packing.segments import Region, SegmentId
from blindsight.rpc.evaluator.v1 import evaluator_pb2
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.wire import blocks, planes, scores, storage
from blindsight.wire.records import Parts, Record, message_type, read, write
from blindsight.wire.verify import VerifyHeader

# Messages without a record: their fields are arguments and results of a call, and each end names them once.
PLAIN = {
    storage_pb2: {
        *("CreateCollectionRequest", "CreateCollectionResponse"),
        *("GetCollectionRequest", "GetCollectionResponse"),
        *("ListCollectionsRequest", "ListCollectionsResponse"),
        *("ReplaceConfigResponse", "TruncateCollectionResponse"),
        *("DeleteCollectionRequest", "DeleteCollectionResponse"),
        *("TakeTurnRequest", "TakeTurnResponse"),
        *("TakeLeaseRequest", "RenewLeaseRequest", "RenewLeaseResponse"),
        *("ReleaseLeaseRequest", "ReleaseLeaseResponse"),
        *("GetItemsRequest", "GetItemsResponse", "ReadOriginalRequest"),
        *("ReadAttachmentsRequest", "ReadPlanesRequest", "GetStatusRequest"),
    },
    evaluator_pb2: {
        *("PrepareRequest", "GetStatusRequest", "DropCollectionRequest", "DropCollectionResponse"),
        "DifferenceRequest",  # two of its parts are of one kind
    },
}
GOOD = tuple(map(int, Region))
BAD = 0, 3
# Records that other code has, of numbers and how they are counted.
ELSEWHERE: dict[ModuleType, dict[str, Any]] = {
    storage_pb2: {"SegmentId": SegmentId},
    evaluator_pb2: {"PlaneKernel": PlaneKernel, "ScaleSpaceImage": ScaleImage},
}
WIRE = {storage_pb2: [storage], evaluator_pb2: [scores, blocks, planes]}


class Pair:
    """A record's kind and its message's, with both conversions."""

    def __init__(self, kind: Any, message: Any) -> None:
        self.kind, self.message = kind, message

    def to_message(self, record: Any) -> Any:
        if isinstance(self.kind, Parts) or isinstance(record, Record):
            return (self.kind if isinstance(self.kind, Parts) else type(record)).to_message(record)
        message = self.message()
        write(message, record)
        return message

    def from_message(self, message: Any) -> Any:
        if isinstance(self.kind, Parts) or issubclass(self.kind, Record):
            return self.kind.from_message(message)
        return read(self.kind, message)


def pairs() -> dict[str, Pair]:
    found: dict[str, Pair] = {}
    for stubs, modules in WIRE.items():
        for name, kind in ELSEWHERE[stubs].items():
            found[f"{stubs.DESCRIPTOR.package}.{name}"] = Pair(kind, getattr(stubs, name))
        for value in (value for module in modules for value in vars(module).values()):
            if isinstance(value, Parts):
                message = value._message
            elif inspect.isclass(value) and issubclass(value, Record) and value is not Record:
                message = message_type(value)
            else:
                continue
            found[message.DESCRIPTOR.full_name] = Pair(value, message)
    return found


PAIRS = pairs()
NUMBERS = {
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: st.text(max_size=8),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=40),
}


Draws = st.SearchStrategy[Any]


def with_weights(message: evaluator_pb2.PlaneKernel) -> evaluator_pb2.PlaneKernel:
    message.height, message.width = message.height % 4 + 1, message.width % 4 + 1
    message.anchor_row %= message.height
    message.anchor_column %= message.width
    count, small = message.height * message.width, [weight >> 8 for weight in message.weights]
    del message.weights[:]
    message.weights.extend([*small, *range(1, count + 1)][:count])
    message.weights[-1] = 7
    message.offset >>= 8
    return message


def with_sigmas(message: evaluator_pb2.ScaleSpaceImage) -> evaluator_pb2.ScaleSpaceImage:
    message.bits %= MAX_SCALE_BITS + 1
    message.sigma = message.bits % 8 + 1.5
    message.less = message.bits % 3 / 2
    return message


# Makes a message right in what is checked of it beside its regions.
RIGHT: dict[str, Callable[[Any], Any]] = {
    "blindsight.evaluator.v1.PlaneKernel": with_weights,
    "blindsight.evaluator.v1.ScaleSpaceImage": with_sigmas,
}


@cache
def messages(descriptor: Descriptor, regions: tuple[int, ...], *, whole: bool) -> Draws:
    """Messages with any values and these regions, and one of each oneof; in whole ones every field is set."""

    def values(field: FieldDescriptor) -> Draws:
        one = st.sampled_from(regions) if field.enum_type else NUMBERS.get(field.type)
        one = messages(field.message_type, regions, whole=whole) if one is None else one
        if field.is_repeated:
            return st.lists(one, min_size=int(whole), max_size=3)
        return one if whole or not field.has_presence else st.none() | one

    plain = [field for field in descriptor.fields if field.containing_oneof is None or field in _alone(field)]
    fixed = st.fixed_dictionaries({field.name: values(field) for field in plain})
    chosen = [
        st.one_of([st.fixed_dictionaries({field.name: values(field)}) for field in oneof.fields])
        for oneof in descriptor.oneofs
        if len(oneof.fields) > 1
    ]
    make = GetMessageClass(descriptor)
    right = RIGHT.get(descriptor.full_name, lambda message: message) if whole else lambda message: message
    return st.tuples(fixed, *chosen).map(lambda parts: right(make(**dict(ChainMap(*parts)))))


def _alone(field: FieldDescriptor) -> list[FieldDescriptor]:
    """A field that may be unset is one of a oneof of its own."""
    return list(field.containing_oneof.fields) if len(field.containing_oneof.fields) == 1 else []


def has_region(name: str) -> bool:
    """Whether all whole messages of a name hold a region, at some depth."""
    return _holds_region(PAIRS[name].message.DESCRIPTOR)


def _holds_region(descriptor: Descriptor) -> bool:
    return any(
        field.enum_type is not None or (field.message_type is not None and _holds_region(field.message_type))
        for field in descriptor.fields
        if field.containing_oneof is None
    )


@pytest.mark.parametrize("stubs", WIRE, ids=lambda stubs: stubs.DESCRIPTOR.package)
def test_every_message_has_a_record_or_is_named_as_one_without(stubs):
    named = {name for name in stubs.DESCRIPTOR.message_types_by_name if name not in PLAIN[stubs]}
    assert PLAIN[stubs] <= set(stubs.DESCRIPTOR.message_types_by_name)
    assert {f"{stubs.DESCRIPTOR.package}.{name}" for name in named} == {
        name for name in PAIRS if name.startswith(stubs.DESCRIPTOR.package)
    }


@pytest.mark.parametrize("name", PAIRS)
@given(data=st.data())
@settings(max_examples=25)
def test_a_record_comes_back_from_the_bytes_of_its_message_as_it_was(name, data):
    pair = PAIRS[name]
    record = pair.from_message(data.draw(messages(pair.message.DESCRIPTOR, GOOD, whole=True)))
    sent = pair.to_message(record).SerializeToString()
    assert pair.from_message(pair.message.FromString(sent)) == record


@pytest.mark.parametrize("name", sorted(PAIRS))
@given(data=st.data())
@settings(max_examples=25)
def test_a_record_has_all_that_stands_in_its_message(name, data):
    pair = PAIRS[name]
    message = data.draw(messages(pair.message.DESCRIPTOR, GOOD, whole=True))
    assert pair.to_message(pair.from_message(message)) == message


@pytest.mark.parametrize("name", [*filter(has_region, PAIRS)])
@given(data=st.data())
@settings(max_examples=25)
def test_a_region_that_is_none_is_refused_wherever_it_stands(name, data):
    pair = PAIRS[name]
    message = data.draw(messages(pair.message.DESCRIPTOR, BAD, whole=True))
    with pytest.raises(InvalidArgument, match="want MAIN, TAIL"):
        pair.from_message(message)


@pytest.mark.parametrize("name", PAIRS)
@given(data=st.data())
@settings(max_examples=25)
def test_a_message_with_anything_in_it_is_read_or_refused_as_the_sender_s_fault(name, data):
    pair = PAIRS[name]
    message = data.draw(messages(pair.message.DESCRIPTOR, GOOD + BAD, whole=False))
    with suppress(InvalidArgument):
        record = pair.from_message(message)
        assert pair.from_message(pair.to_message(record)) == record


def test_a_text_that_utf8_cannot_write_is_told_without_a_codec_s_words():
    with pytest.raises(InvalidArgument, match="collection is no UTF-8 text"):
        VerifyHeader(collection="\udcff").to_message()
