"""The keyholder's contract: every message has a record, and nothing is lost on the way to it and back."""

from dataclasses import MISSING, fields
from importlib import import_module
from typing import get_args, get_type_hints

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from support.metadata import FILTERS, METADATA

from blindsight.additive.schemes import SCHEMES
from blindsight.errors import BlindsightError, InvalidArgument, InvalidVector
from blindsight.parameters import Scheme
from blindsight.rpc.keyholder.v1 import common_pb2, imaging_pb2, imports_pb2, keyholder_pb2, workers_pb2
from blindsight.wire import combine, common, imaging, items, metadata, verify
from blindsight.wire.names import Members, Names
from blindsight.wire.records import Record, message_type

CONTRACTS = keyholder_pb2, imports_pb2, imaging_pb2, workers_pb2
MESSAGES = {
    name: kind for contract in CONTRACTS for name, kind in contract.DESCRIPTOR.message_types_by_name.items()
}
# What says which part of a stream comes, or names what an rpc is about: clients and servicers fill it in.
ENVELOPES = {
    *("IngestImageRequest", "IngestImageResponse", "SearchImageRequest", "SearchImageResponse"),
    *("SearchVectorsRequest", "SearchVectorsResponse", "Vector"),
    *("IngestRequest", "IngestResponse", "SearchRequest", "SearchResponse", "Hits", "VerifyRequest"),
    *("CombineRequest", "CombineResponse", "GetOriginalResponse", "GetPlanesResponse"),
    *("CreateImportRequest", "FilterRequest", "FilterResponse", "DiffRequest", "DiffResponse"),
    *("KeypointsRequest", "KeypointsResponse", "MatchRequest", "MatchResponse"),
    *("CreateCollectionResponse", "GetCollectionRequest", "GetCollectionResponse", "ListCollectionsRequest"),
    *("ListCollectionsResponse", "DeleteCollectionRequest", "DeleteCollectionResponse", "GetOriginalRequest"),
    *("RenameCollectionRequest", "RenameCollectionResponse", "SetAliasRequest", "SetAliasResponse"),
    *("RemoveAliasRequest", "RemoveAliasResponse", "TruncateCollectionRequest"),
    *(
        "AcknowledgeAlarmsRequest",
        "AcknowledgeAlarmsResponse",
        "GetPlanesRequest",
        "CountItemsResponse",
        "GetItemRequest",
        "GetVectorRequest",
        "GetItemResponse",
        "RepackRequest",
        "GetStatusRequest",
        "AcceptRollbackRequest",
        "CheckRequest",
    ),
    *("CreateImportResponse", "GetImportRequest", "GetImportResponse", "WatchImportRequest"),
    *("WatchImportResponse", "ListImportsRequest", "ListImportsResponse", "CancelImportRequest"),
    *("CancelImportResponse", "RetryImportRequest", "RetryImportResponse", "DropFailedRequest"),
    # Parts of metadata and of filters, which are converted by hand.
    *("Value", "Texts", "Filters", "Comparison", "Presence", "GeoBox"),
    *("DropFailedResponse", "ReportItemsRequest", "ReportItemsResponse", "NoteTrialResponse"),
}
MODULES = [
    import_module(f"blindsight.wire.{name}")
    for name in (
        *("collections", "combine", "imaging", "imports", "ingest", "items", "listing", "metadata", "search"),
        *("vectors", "verify", "workers"),
    )
]
RECORDS = {
    message_type(kind).DESCRIPTOR.name: kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind.__module__ == module.__name__
}
# Messages whose fields depend on each other.
MATRICES = {
    "VectorBlock": st.tuples(st.integers(1, 3), st.integers(1, 3), st.lists(st.text(), max_size=3)).map(
        lambda drawn: {"dimension": drawn[1], "values": bytes(4 * drawn[0] * drawn[1]), "ids": drawn[2]}
    ),
    "GetVectorResponse": st.tuples(st.integers(1, 9), st.text(), st.integers(0, 9)).map(
        lambda drawn: {
            "values": bytes(4 * drawn[0]),
            "precision": drawn[1],
            "label": keyholder_pb2.VectorLabel(index=drawn[2], name=drawn[1]),
        }
    ),
    "PhotoVector": st.tuples(st.lists(st.floats(width=32), max_size=3), st.text(), st.booleans()).map(
        lambda drawn: {
            "values": drawn[0],
            "name": drawn[1],
            "box": keyholder_pb2.Box(left=1, width=0.5) if drawn[2] else None,
        }
    ),
    "KernelMatrix": st.tuples(st.integers(1, 3), st.integers(1, 3)).map(
        lambda shape: {"rows": shape[0], "columns": shape[1], "values": np.arange(shape[0] * shape[1]) / 3}
    ),
}
# Messages that nest, or have maps.
NESTED = {
    "Metadata": METADATA.filter(bool).map(
        lambda said: metadata.Metadata(metadata.checked(said)).to_message()
    ),
    "Filter": FILTERS.map(lambda wanted: metadata.Where(wanted).to_message()),
    "Timestamp": st.integers(-(1 << 30), 1 << 33).map(lambda seconds: Timestamp(seconds=seconds)),
}
CONVERTERS = {
    (name, field): converter
    for name, record in RECORDS.items()
    if name not in MATRICES
    for field, hint in get_type_hints(record, include_extras=True).items()
    for converter in get_args(hint)[1:]
    if isinstance(converter, Names | Members)
}
# Of the others an enum stands in answers.
REQUESTS = {
    *("CreateCollectionRequest", "VerifyHeader", "CombineHeader", "FilterHeader", "DiffHeader"),
    "KeypointSettings",
    *("ItemReport", "NoteTrialRequest", "ListItemsRequest"),
}
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}


def messages(name):
    """Messages as their descriptor says, with every enum's values, and without what a record may lack."""
    if name in NESTED:
        return NESTED[name]
    made, record = MESSAGES[name]._concrete_class, RECORDS[name]
    if name in MATRICES:
        return MATRICES[name].map(lambda values: made(**values))
    lacking = {one.name for one in fields(record) if one.default is None}
    given_ = {field.name: several(field) for field in MESSAGES[name].fields}
    optional = {field.name for field in MESSAGES[name].fields if field.has_presence and field.name in lacking}
    return st.fixed_dictionaries(
        {field: values for field, values in given_.items() if field not in optional},
        optional={field: given_[field] for field in optional},
    ).map(lambda values: made(**values))


def several(field):
    one = values(field)
    return st.lists(one, max_size=3) if field.is_repeated else one


def values(field):
    if field.message_type is not None:
        return messages(field.message_type.name)
    if field.enum_type is not None:
        return st.sampled_from(taken(field))
    kind = field.cpp_type
    if kind in INTEGERS:
        return st.integers(*INTEGERS[kind])
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return st.floats(allow_nan=False, width=32 if kind == FieldDescriptor.CPPTYPE_FLOAT else 64)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    return st.binary(max_size=40) if field.type == FieldDescriptor.TYPE_BYTES else st.text(max_size=20)


def taken(field):
    """The numbers of an enum that a field may have: of schemes, those that can do what is asked for."""
    converter = CONVERTERS.get((field.containing_type.name, field.name))
    return [
        value.number for value in field.enum_type.values if value.number and takes(converter, value.number)
    ]


def takes(converter, number):
    try:
        return converter is None or bool(converter.from_message(number))
    except InvalidArgument:
        return False


def same(one, other):
    """Equal, arrays included; of one type, so that a tuple is not taken for a list."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, Record):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    if isinstance(one, tuple):
        return type(other) is tuple and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_every_message_has_a_record_or_is_known_to_need_none():
    assert RECORDS.keys().isdisjoint(ENVELOPES)
    assert MESSAGES.keys() == RECORDS.keys() | ENVELOPES


@pytest.mark.parametrize("name", RECORDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_message_is_the_same_after_it_was_a_record(name, data):
    message = data.draw(messages(name))
    record = RECORDS[name].from_message(message)
    sent = record.to_message().SerializeToString()
    again = message_type(RECORDS[name]).FromString(sent)
    assert again == message
    assert same(RECORDS[name].from_message(again), record)


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_left_out_of_a_message_is_read_as_what_a_record_leaves_out(name):
    """Or it is refused, as an enum that must be given and a matrix without numbers are."""
    try:
        read = RECORDS[name].from_message(message_type(RECORDS[name])())
    except BlindsightError:
        enums = {of for of, _ in CONVERTERS}
        parts = {field.message_type.name for field in MESSAGES[name].fields if field.message_type is not None}
        assert name in {*MATRICES, *NESTED, *enums} or parts & enums
        return
    for field in fields(read):
        if field.default is not MISSING:
            assert getattr(read, field.name) == field.default


@pytest.mark.parametrize(("name", "field"), CONVERTERS)
def test_an_enum_that_a_newer_contract_has_is_refused(name, field):
    converter = CONVERTERS[name, field]
    described = MESSAGES[name].fields_by_name[field].enum_type
    known = {value.number for value in described.values if value.number and takes(converter, value.number)}
    if described.name != "Scheme" or name not in REQUESTS:
        assert known == {value.number for value in described.values if value.number}
    assert known
    unknown = max(value.number for value in described.values) + 1
    with pytest.raises(
        BlindsightError, match=f"{unknown}, want one of|{unknown}, which this client does not"
    ):
        converter.from_message(unknown)


@pytest.mark.parametrize(("name", "field"), CONVERTERS)
def test_an_unknown_enum_is_the_fault_of_who_asks_with_it_and_not_of_who_is_answered_with_it(name, field):
    with pytest.raises(BlindsightError) as caught:
        CONVERTERS[name, field].from_message(99)
    assert isinstance(caught.value, InvalidArgument) == (name in REQUESTS)


def test_schemes_have_the_names_that_the_library_has_for_them():
    names = {info.name for info in SCHEMES.values()} | {scheme.name.lower() for scheme in Scheme}
    assert {common.SCHEME.from_message(value) for value in common_pb2.Scheme.values() if value} == names
    asked = common.COLLECTION_SCHEME, common.IMAGING_SCHEME, common.ADDITIVE_SCHEME
    assert all(one.to_message("") == 0 and one.from_message(0) == "" for one in asked)
    assert {scheme.name.lower() for scheme in Scheme} == set(common.COLLECTION_SCHEME)
    assert {info.name for info in SCHEMES.values()} == set(common.ADDITIVE_SCHEME)


def test_a_name_that_there_is_not_is_answered_with_those_that_there_are():
    with pytest.raises(InvalidArgument, match="metric 'taxi', want one of cosine, euclidean, dot, squared-c"):
        verify.VerifyHeader(metric="taxi").to_message()


@pytest.mark.parametrize(
    ("values", "dimension"), [(b"", 4), (bytes(16), 0), (bytes(15), 4), (bytes(24), 4)], ids=str
)
def test_bytes_that_are_no_rows_are_no_vectors(values, dimension):
    message = keyholder_pb2.VectorBlock(values=values, dimension=dimension)
    with pytest.raises(InvalidVector, match=f"{len(values)} bytes of vectors, want rows of {dimension}"):
        items.VectorBlock.from_message(message)


@pytest.mark.parametrize("values", [b"", bytes(7)], ids=len)
def test_bytes_that_are_no_numbers_are_no_vector_of_an_item(values):
    with pytest.raises(InvalidVector, match=f"{len(values)} bytes of a vector, want float32 values"):
        items.ItemVector.from_message(keyholder_pb2.GetVectorResponse(values=values))


@pytest.mark.parametrize("values", [[], [1.0] * 8, [1.0] * 10], ids=len)
def test_numbers_that_are_no_matrix_are_no_kernel(values):
    message = imaging_pb2.KernelMatrix(rows=3, columns=3, values=values)
    with pytest.raises(InvalidArgument, match=f"kernel of 3 x 3 with {len(values)} numbers, want as many"):
        imaging.KernelMatrix.from_message(message)


@pytest.mark.parametrize("kind", ["pixels", "signed", "degrees"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_the_same_after_it_was_bytes(kind, channels):
    planes = np.arange(channels * 6, dtype=np.uint8 if kind == "pixels" else np.int32).reshape(channels, 2, 3)
    header, data = imaging.PictureHeader.of("result", kind, planes)
    values = header.values(data)
    assert len(data) == header.size_bytes == header.wanted_bytes
    assert values.dtype == planes.dtype
    assert np.array_equal(values, planes[0] if channels == 1 else np.moveaxis(planes, 0, 2))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_pixels_are_the_same_after_they_were_bytes(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    header, data = items.PlanesHeader.of(image, id="1", name="a.png")
    assert (header.height, header.width, header.channels) == (2, 3, len(shape) * 2 - 3)
    assert len(data) == header.size_bytes
    assert np.array_equal(header.pixels(data), image)


def test_integers_are_the_same_after_they_were_bytes():
    values = np.array([[0, 1, -1], [(1 << 63) - 1, -(1 << 63), 2]])
    header, data = combine.ArrayHeader.of(values)
    assert np.array_equal(combine.unpacked(data, header.shape), values)
