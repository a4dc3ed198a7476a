"""The SDK against keyholders that misbehave: a real server, which no real keyholder would be."""

import os
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import blindsight
from blindsight import errors
from blindsight.client import AsyncVault, StoredPhoto
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.rpc.keyholder.v1.common_pb2 import SCHEME_CKKS
from blindsight.runtime import request_ids, status, transfer

SERVICE = "blindsight.keyholder.v1.KeyholderService"


class Keyholder(keyholder_pb2_grpc.KeyholderServiceServicer):
    """Answers with what a test puts into it."""

    def __init__(self):
        self.ingest = lambda requests, context: iter(())
        self.search = lambda requests, context: iter(())
        self.original = lambda request: iter(())
        self.planes = lambda request: iter(())

    def GetCollection(self, request, context):
        about = pb.Collection(name=request.name, scheme=SCHEME_CKKS, metric=pb.METRIC_COSINE, dimension=3)
        return pb.GetCollectionResponse(collection=about)

    def ListCollections(self, request, context):
        return pb.ListCollectionsResponse(
            collections=[pb.Collection(name="newer", scheme=SCHEME_CKKS, metric=99)]
        )

    def Ingest(self, requests, context):
        yield from self.ingest(requests, context)

    def Search(self, requests, context):
        yield from self.search(requests, context)

    def GetOriginal(self, request, context):
        yield from self.original(request)

    def GetPlanes(self, request, context):
        yield from self.planes(request)


@pytest.fixture
def served():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    keyholder = Keyholder()
    keyholder_pb2_grpc.add_KeyholderServiceServicer_to_server(keyholder, server)
    checks = health.HealthServicer()
    checks.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    keyholder.health = checks
    keyholder.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield keyholder
    server.stop(None).wait()


@pytest.fixture
def photos(served):
    with blindsight.connect(served.address) as vault:
        yield vault.collection("photos")


def abort(context, error):
    answer = status.to_status(error)
    code = next(code for code in grpc.StatusCode if code.value[0] == answer.code)
    context.abort_with_status(_Status(code, answer.message, status.metadata_of(answer)))


class _Status(grpc.Status):
    def __init__(self, code, details, trailing_metadata):
        self.code, self.details, self.trailing_metadata = code, details, trailing_metadata


def stored(index):
    return pb.IngestResponse(item=pb.ItemResult(index=index, outcome=pb.OUTCOME_STORED, id=f"id-{index}"))


def test_an_ingest_without_a_summary_is_an_error(served, photos):
    served.ingest = lambda requests, context: (stored(0) for _ in [list(requests)])
    with pytest.raises(errors.DataLoss, match="ended the ingest before all of it had come"):
        photos.ingest(b"photo", any=True)


def test_an_answer_about_a_photo_that_was_not_sent_is_an_error(served, photos):
    served.ingest = lambda requests, context: (stored(7) for _ in [list(requests)])
    with pytest.raises(errors.DataLoss, match="photo 7, which does not wait for an answer"):
        photos.ingest(b"photo", any=True)


def test_a_search_without_timings_is_an_error(served, photos):
    served.search = lambda requests, context: iter([pb.SearchResponse(hits=pb.Hits())])
    with pytest.raises(errors.DataLoss, match="ended the search before all of it had come"):
        photos.search_vectors([1.0, 2.0, 3.0])


def test_a_failed_ingest_says_how_much_was_stored(served, photos):
    def fail(requests, context):
        list(requests)
        yield stored(0)
        yield stored(1)
        abort(context, errors.Unavailable("storage is gone"))

    served.ingest = fail
    with pytest.raises(errors.Unavailable, match="storage is gone") as caught:
        photos.ingest([b"1", b"2", b"3"], any=True)
    assert caught.value.metadata["stored"] == "2"


@pytest.mark.parametrize(
    "error", [errors.NotFound, errors.InvalidVector, errors.AlreadyExists, errors.DataLoss]
)
def test_an_error_of_the_keyholder_is_raised_as_what_it_was(served, photos, error):
    served.search = lambda requests, context: abort(context, error("said so"))
    with pytest.raises(error, match=r"^said so$"):
        photos.search_vectors([1.0, 2.0, 3.0])


def test_items_are_reported_in_the_order_given_although_they_come_back_in_another(served, photos, tmp_path):
    def answer(requests, context):
        for _ in requests:
            pass
        yield stored(1)
        yield stored(0)
        yield pb.IngestResponse(summary=pb.IngestProgress(stored=2))

    served.ingest = answer
    seen = []
    given = [("a", b"1"), tmp_path / "gone.jpg", ("b", b"2")]
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    report = photos.ingest(given, any=True, progress=seen.append)
    assert [(item.path.rpartition("/")[2], item.outcome, item.id) for item in report.items] == [
        ("a", "stored", "id-0"),
        ("gone.jpg", "rejected", ""),
        ("b", "stored", "id-1"),
    ]
    assert (report.stored, report.rejected, seen[-1].done, seen[-1].total) == (2, 1, 3, 3)


def test_an_error_while_reading_an_input_cancels_the_ingest_and_reaches_the_caller(served, photos):
    ended = threading.Event()
    received = []

    def answer(requests, context):
        context.add_callback(ended.set)
        received.extend(request.WhichOneof("part") for request in requests)
        yield pb.IngestResponse(summary=pb.IngestProgress(stored=1))

    def broken():
        yield b"first"
        raise ZeroDivisionError("the caller's own fault")

    served.ingest = answer
    with pytest.raises(ZeroDivisionError, match="the caller's own fault"):
        photos.ingest(broken())
    assert ended.wait(10)


def test_an_ingest_that_the_caller_gives_up_is_cancelled(served, photos):
    cancelled = threading.Event()

    def answer(requests, context):
        context.add_callback(cancelled.set)
        list(requests)
        yield stored(0)
        cancelled.wait(20)

    def give_up(progress):
        raise KeyboardInterrupt

    served.ingest = answer
    with pytest.raises(KeyboardInterrupt):
        photos.ingest(b"photo", any=True, progress=give_up)
    assert cancelled.wait(10)


def test_a_keyholder_that_does_not_read_holds_the_reading_of_files_back(served, photos):
    may_read = threading.Event()
    loaded = []

    def answer(requests, context):
        may_read.wait(20)
        count = sum(request.WhichOneof("part") == "file" for request in requests)
        for index in range(count):
            yield stored(index)
        yield pb.IngestResponse(summary=pb.IngestProgress(stored=count))

    def inputs():
        for number in range(64):
            loaded.append(number)
            yield bytes(transfer.CHUNK_BYTES)

    served.ingest = answer
    ingest = futures.ThreadPoolExecutor(1).submit(photos.ingest, inputs(), any=True)
    settled = -1
    while settled != len(loaded):  # until it stands still
        settled = len(loaded)
        time.sleep(0.3)
    assert 0 < settled < 40
    may_read.set()
    assert ingest.result(60).stored == 64


@pytest.mark.parametrize(
    ("size", "digest", "chunks"),
    [
        (5, transfer.digest(b"photo"), [b"phot0"]),
        (5, transfer.digest(b"photo"), [b"pho"]),
        (5, transfer.digest(b"photo"), [b"photo", b"!"]),
        (transfer.MAX_PHOTO_BYTES + 1, transfer.digest(b"photo"), [b"photo"]),
        (5, b"short", [b"photo"]),
    ],
    ids=["changed", "cut", "longer", "too-large", "bad-digest"],
)
def test_an_original_that_is_not_what_was_announced_is_a_loss(served, photos, size, digest, chunks):
    header = pb.OriginalHeader(id="1", size_bytes=size, sha256=digest)
    answers = [
        pb.GetOriginalResponse(header=header),
        *(pb.GetOriginalResponse(chunk=chunk) for chunk in chunks),
    ]
    served.original = lambda request: iter(answers)
    with pytest.raises(errors.DataLoss):
        photos.get("1")


@pytest.mark.parametrize(
    "answers", [[], [pb.GetOriginalResponse(chunk=b"photo")]], ids=["nothing", "no-header"]
)
def test_an_original_without_a_header_is_an_error(served, photos, answers):
    served.original = lambda request: iter(answers)
    with pytest.raises(errors.BlindsightError):
        photos.get("1")


def test_an_empty_original_is_an_original(served, photos):
    header = pb.OriginalHeader(id="1", name="empty", size_bytes=0, sha256=transfer.digest(b""))
    served.original = lambda request: iter([pb.GetOriginalResponse(header=header)])
    assert photos.get("1").data == b""


def test_a_metric_of_a_newer_keyholder_is_named_as_unknown(served):
    unknown = pytest.raises(errors.BlindsightError, match="metric 99, which this client does not know")
    with blindsight.connect(served.address) as vault, unknown:
        vault.collections()


def test_vectors_are_checked_before_an_ingest_begins(served, photos):
    begun = []
    served.ingest = lambda requests, context: begun.append(1) or iter(())
    matrix = np.ones((5000, 3))
    matrix[4999] = np.nan
    with pytest.raises(errors.InvalidVector, match="row 4999"):
        photos.ingest_vectors(matrix)
    with pytest.raises(errors.InvalidVector, match="dimension 4, want 3"):
        photos.ingest_vectors(np.ones((2, 4)))
    with pytest.raises(errors.InvalidVector, match="row 1 is zero"):
        photos.ingest_vectors([[1, 2, 3], [0, 0, 0]])
    assert begun == []


@pytest.mark.parametrize("k", [0, -1])
def test_no_matches_cannot_be_asked_for(photos, k):
    with pytest.raises(errors.InvalidArgument, match="want 1 to"):
        photos.search_vectors([1.0, 2.0, 3.0], k=k)


def test_a_dead_address_is_one_line_that_says_what_to_do(tmp_path):
    with pytest.raises(errors.Unavailable) as caught:
        blindsight.connect("127.0.0.1:9", timeout_seconds=5)
    assert str(caught.value) == (
        "no keyholder answers at 127.0.0.1:9; start one with `blindsight up --data DIR`"
    )


@pytest.mark.parametrize(
    ("address", "said"),
    [
        *(
            (one, "want HOST:PORT$")
            for one in ("nonsense", "host:", ":7420", "host:port", "host:-1", "h t:1")
        ),
        *(
            (one, "want HOST:PORT$")
            for one in (" host:1", "host:1 ", "host:1/", "me@host:1", "host:\N{DEVANAGARI DIGIT ONE}")
        ),
        ("host:0", "has port 0, want that of a keyholder"),
        ("host:65536", "has port 65536, want at most 65535"),
        ("::1:7420", r"want HOST:PORT, with \[ \] around the host"),
        ("http://host:7420", "is a URL, want HOST:PORT without 'http://'"),
        ("https://host:7420/", "is a URL, want HOST:PORT without 'https://'"),
        ("dns:///host:7420", "is a URL, want HOST:PORT without 'dns://'"),
    ],
)
def test_what_is_no_address_is_refused(address, said):
    with pytest.raises(errors.InvalidArgument, match=said):
        blindsight.connect(address)


def test_a_name_without_an_address_is_told_as_such():
    with pytest.raises(
        errors.Unavailable, match=r"no address is known for 'nosuch.invalid', want the name of"
    ):
        blindsight.connect("nosuch.invalid:7420")


def test_a_keyholder_that_is_stopping_is_unavailable(served):
    served.health.set(SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
    with pytest.raises(errors.Unavailable, match="not serving"):
        blindsight.connect(served.address, retry_seconds=0.5)


def test_another_service_is_no_keyholder():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(errors.Unavailable, match="is not a keyholder"):
        blindsight.connect(f"127.0.0.1:{port}")
    server.stop(None).wait()


# --- photos that are refused ---------------------------------------------------------------------------


class Refusing(grpc.GenericRpcHandler):
    """Refuses the photos of every call, once all of it has come."""

    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    @staticmethod
    def _refuse(requests, context):
        list(requests)
        abort(context, errors.InvalidImage("photo is empty"))
        yield b""


@pytest.fixture
def refusing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("note.txt", "other.txt"):
        (tmp_path / name).write_bytes(b"text")
    server = grpc.server(futures.ThreadPoolExecutor(2))
    checks = health.HealthServicer()
    checks.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_generic_rpc_handlers((Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with blindsight.connect(f"127.0.0.1:{port}") as vault:
        yield vault
    server.stop(None).wait()


STORED = StoredPhoto("photos", "id")
OF_ONE = {
    "search": lambda vault, one: vault.collection("photos").search(one),
    "verify with an item": lambda vault, one: vault.collection("photos").verify("id", one),
    "filter": lambda vault, one: vault.filter(one, "box:3"),
    "keypoints": lambda vault, one: vault.keypoints(one),
    "diff with a stored photo": lambda vault, one: vault.diff(STORED, one),
    "match with a stored photo": lambda vault, one: vault.match(one, STORED),
    "combine with an array": lambda vault, one: vault.combine([np.array([[1]]), one]),
    "diff with itself": lambda vault, one: vault.diff(one, one),
}
OF_TWO = {
    "verify": lambda vault, one, other: vault.verify(one, other),
    "diff": lambda vault, one, other: vault.diff(one, other),
    "match": lambda vault, one, other: vault.match(one, other),
    "combine": lambda vault, one, other: vault.combine([one, other]),
}


@pytest.mark.parametrize("name", OF_ONE)
def test_a_refused_photo_is_named(refusing, name):
    with pytest.raises(errors.InvalidImage, match=r"^note\.txt: photo is empty$") as caught:
        OF_ONE[name](refusing, "note.txt")
    assert caught.value.metadata["request_id"]
    with pytest.raises(errors.InvalidImage, match=r"^photo is empty$"):
        OF_ONE[name](refusing, b"text")


@pytest.mark.parametrize("name", OF_TWO)
def test_one_of_two_photos_is_named_only_if_it_is_known_which(refusing, tmp_path, name):
    with pytest.raises(errors.InvalidImage, match=r"^photo is empty$"):
        OF_TWO[name](refusing, "note.txt", "other.txt")
    (tmp_path / "device").symlink_to(os.devnull)
    with pytest.raises(errors.InvalidImage, match=r"^device: not a regular file$"):
        OF_TWO[name](refusing, "note.txt", "device")


# --- planes --------------------------------------------------------------------------------------------

PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
RAW = PIXELS.tobytes()


def planes_header(**changes):
    about = {
        "id": "1",
        "width": 4,
        "height": 2,
        "channels": 3,
        "sha256": transfer.digest(PIXELS.tobytes()),
        **changes,
    }
    return pb.GetPlanesResponse(header=pb.PlanesHeader(**about))


def planes_chunk(data=RAW):
    return pb.GetPlanesResponse(chunk=data)


def test_planes_are_put_together_from_chunks_and_can_be_written_to(served, photos):
    data = PIXELS.tobytes()
    served.planes = lambda request: iter([planes_header(), planes_chunk(data[:5]), planes_chunk(data[5:])])
    image = photos.planes("1")
    np.testing.assert_array_equal(image, PIXELS)
    image[0] = 0
    served.planes = lambda request: iter([planes_header(width=12, channels=1), planes_chunk()])
    assert photos.planes("1").shape == (2, 12)


@pytest.mark.parametrize(
    "answers",
    [
        [planes_header()],
        [planes_header(), planes_chunk(b"x")],
        [planes_header(), planes_chunk(bytes(24))],
        [planes_header(), planes_chunk(bytes(25))],
        [planes_header(width=5), planes_chunk()],
        [planes_header(width=2**32 - 1, height=2**32 - 1), planes_chunk()],
        [planes_header(sha256=b"")],
    ],
    ids=["nothing", "less", "other", "more", "wider", "huge", "no digest"],
)
def test_planes_that_are_not_what_was_announced_are_data_loss(served, photos, answers):
    served.planes = lambda request: iter(answers)
    with pytest.raises(errors.DataLoss, match="the planes"):
        photos.planes("1")


def test_planes_without_a_header_are_incomplete(served, photos):
    with pytest.raises(errors.DataLoss, match="ended before its header came"):
        photos.planes("1")


# --- a keyholder that restarts ------------------------------------------------------------------------

DRAINING = errors.Draining("the keyholder is stopping")


class Ingests:
    """Answers one stream after the other as its next answer says, and keeps what came."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.came = []
        self.names = []

    def __call__(self, requests, context):
        parts = list(requests)[1:]
        self.came.append(parts)
        self.names.append(dict(context.invocation_metadata())[request_ids.KEY])
        return self._answers.pop(0)(context)


def photo_names(parts):
    return [part.file.name for part in parts if part.WhichOneof("part") == "file"]


def cut_off_after(*responses):
    def answer(context):
        yield from responses
        abort(context, DRAINING)

    return answer


def all_of(*responses):
    summary = pb.IngestProgress(stored=len(responses))
    return lambda context: iter([*responses, pb.IngestResponse(summary=summary)])


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_photos_that_were_not_answered_are_sent_again_and_no_others(served, photos, kind):
    served.ingest = Ingests(cut_off_after(stored(1)), cut_off_after(), all_of(stored(0), stored(1)))
    seen = []
    report = photos.ingest(
        kind([("a", b"1"), ("b", b"2"), ("c", b"3")]),
        any=True,
        progress=lambda now: seen.append(now.stored),
    )
    assert [photo_names(parts) for parts in served.ingest.came] == [["a", "b", "c"], ["a", "c"], ["a", "c"]]
    assert [(item.path, item.id) for item in report.items] == [("a", "id-0"), ("b", "id-1"), ("c", "id-1")]
    assert (report.stored, seen) == (3, [1, 2, 3, 3])
    assert len(set(served.ingest.names)) == 1


def test_rows_that_were_not_stored_are_sent_again_and_no_others(served, photos):
    first = pb.IngestResponse(progress=pb.IngestProgress(stored=2))
    last = pb.IngestResponse(summary=pb.IngestProgress(stored=3))
    served.ingest = Ingests(cut_off_after(first), lambda context: iter([last]))
    report = photos.ingest_vectors(np.eye(3)[[0, 1, 2, 0, 1]], ["a", "b", "c", "d", "e"])
    sent = [[name for part in parts for name in part.vectors.ids] for parts in served.ingest.came]
    assert sent == [["a", "b", "c", "d", "e"], ["c", "d", "e"]]
    assert report.stored == 5


def test_rows_of_a_stream_that_was_lost_without_a_word_are_not_sent_again(served, photos):
    served.ingest = Ingests(lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed"))
    with pytest.raises(errors.Unavailable, match="the keyholder does not answer: Socket closed") as caught:
        photos.ingest_vectors(np.eye(3))
    assert caught.value.metadata["request_id"] == served.ingest.names[0]
    assert len(served.ingest.came) == 1


# One of each kind of call, unary and streams, and of what makes several.
CALLS = {
    "status": lambda vault, photos: vault.status(),
    "count": lambda vault, photos: photos.count(),
    "ingest": lambda vault, photos: photos.ingest(b"photo", any=True),
    "ingest_vectors": lambda vault, photos: photos.ingest_vectors([[1.0, 2.0, 3.0]]),
    "search": lambda vault, photos: photos.search(b"photo"),
    "get": lambda vault, photos: photos.get("one"),
    "items": lambda vault, photos: list(photos.items()),
    "filter": lambda vault, photos: vault.filter(b"photo", "box"),
    "imports": lambda vault, photos: vault.imports(),
    "watch": lambda vault, photos: list(vault.get_import("00" * 16).watch()),
    "ingest_bulk": lambda vault, photos: photos.ingest_bulk([b"photo"], any=True),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_after_the_close_is_one_clear_error(served, name):
    vault = blindsight.connect(served.address)
    before = vault.collection("photos")
    vault.close()
    vault.close()
    for photos in (before, vault.collection("photos")):
        with pytest.raises(errors.InvalidArgument, match="the vault is closed, want one that is open"):
            CALLS[name](vault, photos)


def until_closed(vault, ask, ended):
    while not any("closed" in str(error) for error in ended):
        try:
            ask(vault, vault.collection("photos"))
        except Exception as error:
            ended.append(error)


def test_calls_of_other_threads_end_in_one_clear_error_when_the_vault_is_closed(served):
    served.ingest = served.search = lambda requests, context: (stored(7) for _ in [time.sleep(0.001)])
    asks = [CALLS["search"], CALLS["ingest"], lambda vault, photos: photos.describe()] * 2
    for _ in range(5):
        vault = blindsight.connect(served.address, retry_seconds=0.0)
        ended = [[] for _ in asks]
        given = [(vault, ask, errors_of) for ask, errors_of in zip(asks, ended, strict=True)]
        threads = [threading.Thread(target=until_closed, args=one, daemon=True) for one in given]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        vault.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        assert [
            error for one in ended for error in one if not isinstance(error, errors.BlindsightError)
        ] == []


async def test_a_call_after_the_close_of_an_asynchronous_vault_is_one_clear_error(served):
    never_opened, used = AsyncVault(served.address), AsyncVault(served.address)
    photos = used.collection("photos")
    await photos.describe()
    for vault in (never_opened, used):
        await vault.close()
        await vault.close()
        with pytest.raises(errors.InvalidArgument, match="the vault is closed"):
            await vault.collections()
        with pytest.raises(errors.InvalidArgument, match="the vault is closed"):
            async with vault:
                pass
    with pytest.raises(errors.InvalidArgument, match="the vault is closed"):
        await photos.describe()
    with pytest.raises(errors.InvalidArgument, match="the vault is closed"):
        [item async for item in photos.items()]
