"""Streams of bulk ingest that no client of ours sends: each ends in one line, and the keyholder goes on."""

import os

import grpc
import pytest
from support.bulk import BulkServices
from support.photos import jpeg

import blindsight
from blindsight.rpc.keyholder.v1 import imports_pb2 as pb
from blindsight.rpc.keyholder.v1.imports_pb2_grpc import ImportServiceStub
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, digest

DATA = jpeg("coffee")


def header(collection="photos", request_id=None, *, says_end=False):
    request_id = os.urandom(8).hex() if request_id is None else request_id
    about = pb.ImportHeader(collection=collection, request_id=request_id, says_end=says_end)
    return pb.CreateImportRequest(header=about)


SIZE = len(DATA)


def file(number=0, size=SIZE, checksum=None, name="name.jpg", item_id="", data=b"", **more):
    checksum = digest(DATA) if checksum is None else checksum
    about = pb.ImportFile(
        number=number, name=name, size_bytes=size, sha256=checksum, id=item_id, data=data, **more
    )
    return pb.CreateImportRequest(file=about)


def files(*messages):
    """What `file` made, in one message."""
    return pb.CreateImportRequest(files=pb.ImportFiles(files=[one.file for one in messages]))


def chunk(data=DATA):
    return pb.CreateImportRequest(chunk=data)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    running = BulkServices(tmp_path_factory.mktemp("hostile"))
    try:
        running.start()
        with blindsight.connect(running.address()) as vault:
            vault.create_collection("photos")
        yield running
    finally:
        running.stop()


@pytest.fixture
def stub(services):
    with grpc.insecure_channel(services.address()) as channel:
        yield ImportServiceStub(channel)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ([], "does not begin with a header"),
        ([chunk()], "does not begin with a header"),
        ([header(), header()], "import stream: header"),
        ([header(), chunk()], "import stream: chunk"),
        ([header(), pb.CreateImportRequest()], "import stream: nothing"),
        ([header(), file(), chunk(), file(), chunk()], "file 0 after 0, want numbers to ascend"),
        ([header(), file(5), chunk(), file(2), chunk()], "file 2 after 5"),
        ([header(), file(), chunk(DATA + b"x")], "bytes came, want"),
        ([header(), file(), chunk(b"")], "bytes came, want"),
        ([header(), file(data=DATA + b"x")], "bytes came, want"),
        ([header(), file(data=DATA[:9]), chunk()], "bytes came, want"),
        ([header(), file(data=DATA[:9]), file(1)], "9 bytes came, want"),
        ([header(), file(checksum=bytes(32), data=DATA)], "the SHA-256 does not match"),
        ([header(), file(), file(1)], "0 bytes came, want"),
        ([header(), file()], "0 bytes came, want"),
        ([header(), files(file(data=DATA), file(1, data=DATA[:9])), chunk(DATA[9:])], "9 bytes came, want"),
        ([header(), files(file(1, data=DATA), file(1, data=DATA))], "file 1 after 1"),
        ([header(), file(3, data=DATA), files(file(4, data=DATA), file(2, data=DATA))], "file 2 after 4"),
        ([header(), file(checksum=bytes(32)), chunk()], "the SHA-256 does not match"),
        ([header(request_id="")], "request id of 0 characters"),
        ([header(request_id="two\nlines")], "request id of 9 characters"),
    ],
)
def test_a_stream_that_is_none_is_refused_and_the_keyholder_goes_on(stub, stream, said):
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.CreateImport(iter(stream), timeout=20))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in refused.value.details()
    assert len(list(stub.CreateImport(iter([header(), file(), chunk()]), timeout=20))) == 3


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (file(size=MAX_PHOTO_BYTES + 1), "RESOURCE_EXHAUSTED"),
        (file(size=1 << 60), "RESOURCE_EXHAUSTED"),
        (file(size=1 << 60, data=DATA), "RESOURCE_EXHAUSTED"),
        (file(checksum=b"short"), "INVALID_ARGUMENT"),
        (file(metadata={"values": {"no key": {"number": 1}}}), "INVALID_ARGUMENT"),
    ],
)
@pytest.mark.parametrize("chunks", [0, 2])
def test_a_file_that_is_refused_at_the_door_fails_alone(stub, refused, reason, chunks):
    stream = [header(), refused, *[chunk()] * chunks, file(1), chunk()]
    answers = list(stub.CreateImport(iter(stream), timeout=20))
    last = answers[-1].job
    assert (last.received, last.failed, last.state) == (2, 1, pb.IMPORT_STATE_RUNNING)
    found = stub.GetImport(pb.GetImportRequest(import_id=last.import_id))
    assert [(item.number, item.name, item.reason) for item in found.failed_items] == [(0, "name.jpg", reason)]


@pytest.mark.parametrize(
    "stream",
    [
        [file(), chunk()],
        [file(data=DATA)],
        [file(data=DATA[:9]), chunk(DATA[9:])],
        [file(data=DATA[:9]), chunk(DATA[9:20]), chunk(DATA[20:])],
    ],
)
def test_a_files_bytes_come_with_its_header_or_after_it(stub, stream):
    answers = list(stub.CreateImport(iter([header(), *stream]), timeout=20))
    assert (answers[-1].job.received, answers[-1].job.failed) == (1, 0)


def test_photos_come_in_one_message_and_one_that_is_refused_fails_alone(stub):
    together = files(file(data=DATA), file(1, size=1 << 60, data=DATA), file(2, data=DATA))
    answers = list(stub.CreateImport(iter([header(), together, files(), file(3, data=DATA)]), timeout=20))
    assert (answers[-1].job.received, answers[-1].job.failed) == (4, 1)


def test_an_import_receives_until_its_caller_says_the_end(stub):
    first = header(says_end=True)
    with pytest.raises(grpc.RpcError, match="it broke off, want a message of no files at its end"):
        list(stub.CreateImport(iter([first, file(data=DATA)]), timeout=20))
    (broken_off,) = (
        one
        for one in stub.ListImports(pb.ListImportsRequest()).imports
        if one.request_id == first.header.request_id
    )
    assert (broken_off.received, broken_off.state) == (1, pb.IMPORT_STATE_RECEIVING)
    rest = [first, file(1, data=DATA), files()]
    last = list(stub.CreateImport(iter(rest), timeout=20))[-1].job
    assert (last.import_id, last.received) == (broken_off.import_id, 2)
    assert last.state == pb.IMPORT_STATE_RUNNING


def test_an_older_caller_ends_an_import_by_ending_its_stream(stub):
    last = list(stub.CreateImport(iter([header(), file(data=DATA)]), timeout=20))[-1].job
    assert (last.received, last.state) == (1, pb.IMPORT_STATE_RUNNING)


@pytest.mark.parametrize("about", [{"name": "x" * 1025}, {"item_id": "two\nlines"}, {"item_id": "x" * 513}])
def test_a_name_or_an_id_that_is_none_fails_alone(stub, about):
    answers = list(stub.CreateImport(iter([header(), file(**about), chunk()]), timeout=20))
    assert (answers[-1].job.received, answers[-1].job.failed) == (1, 1)
    assert answers[-1].job.state == pb.IMPORT_STATE_FINISHED


@pytest.mark.parametrize("import_id", ["", "xyz", "00" * 16, "00" * 5000])
def test_an_id_of_no_import_is_not_found(stub, import_id):
    for call, request in [
        (stub.GetImport, pb.GetImportRequest),
        (stub.CancelImport, pb.CancelImportRequest),
        (stub.RetryImport, pb.RetryImportRequest),
        (stub.DropFailed, pb.DropFailedRequest),
    ]:
        with pytest.raises(grpc.RpcError) as refused:
            call(request(import_id=import_id), timeout=20)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("token", ["-1", "x", "9" * 30, "\u0661"])
def test_a_page_token_that_was_never_answered_is_refused(stub, token):
    with pytest.raises(grpc.RpcError) as refused:
        stub.ListImports(pb.ListImportsRequest(page_token=token), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
