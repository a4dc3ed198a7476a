"""Hostile bytes at every door of a real evaluator process: one clear status each, and it serves on."""

import itertools
import struct

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import storage
from support.evaluator import (
    PARAMETERS,
    Client,
    Owner,
    Untrusted,
    ask,
    header,
    new_gallery,
    requests,
    unit_rows,
)
from support.polynomials import random_residues
from support.storage import MAIN_0, TAIL_0, refusal
from tenseal import sealapi

from blindsight.ciphertext.header import (
    ADDITIVE_SECRET_MAGIC,
    BATCH_TRAILER_BYTES,
    HEADER,
    SECRET_MAGICS,
    SEED_BYTES,
    Form,
)
from blindsight.ciphertext.residues import full_block, seeded_block
from blindsight.packing.columns import collection_layout
from blindsight.parameters import PARAMETER_SETS
from blindsight.ring.tiles import Geometry
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.trusted.schemes import seal

INVALID = grpc.StatusCode.INVALID_ARGUMENT
FORMS = unit_rows(1, 8, seed=5)
FIRST, LAST = PARAMETERS.primes[0], PARAMETERS.primes[-1]
LARGEST = 2**32 - 1
# Bytes of a column; a query has two columns for the main region, then one for the tail.
COLUMN_BYTES = Geometry(PARAMETERS, 1).size_bytes
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory):
    running = Untrusted(tmp_path_factory.mktemp("hostile"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def stored(untrusted):
    with storage.Client(untrusted.storage.address) as client:
        yield client


@pytest.fixture(scope="module")
def gallery(stored):
    made = new_gallery(Owner(), stored, next(_numbers))
    made.add(MAIN_0, unit_rows(20, 8))
    made.add(TAIL_0, unit_rows(2, 8, seed=2))
    return made


@pytest.fixture(scope="module")
def client(untrusted):
    with Client(untrusted.evaluator.address) as connected:
        yield connected


@pytest.fixture
def evaluator(client, gallery, untrusted):
    """The service before a hostile call; afterwards the same processes must answer right."""
    client.score(gallery, FORMS)
    before = [process.pid for process in untrusted.workers()]
    assert before
    yield client
    assert client.serving()
    gallery.check(client.score(gallery, FORMS))
    assert [process.pid for process in untrusted.workers()] == before


@pytest.fixture(scope="module")
def good(gallery):
    return gallery.query(FORMS)


def score(evaluator, stream):
    return refusal(lambda: evaluator.stub.Score(iter(stream), timeout=30))


def chunk(data):
    return pb.ScoreRequest(chunk=data)


def patched(block, offset, data):
    return block[:offset] + data + block[offset + len(data) :]


BAD_STREAMS = {
    "nothing": lambda identity, good: [],
    "an empty message": lambda identity, good: [pb.ScoreRequest()],
    "a chunk first": lambda identity, good: [chunk(good), header(identity, good)],
    "two headers": lambda identity, good: [header(identity, good), header(identity, good), chunk(good)],
    "an empty message between": lambda identity, good: [
        header(identity, good),
        pb.ScoreRequest(),
        chunk(good),
    ],
    "an empty chunk": lambda identity, good: [header(identity, good), chunk(b""), chunk(good)],
    "no chunk": lambda identity, good: [header(identity, good)],
    "too little": lambda identity, good: [header(identity, good), chunk(good[:-1])],
    "too much": lambda identity, good: [header(identity, good), chunk(good), chunk(b"x")],
    "a chunk that is too large": lambda identity, good: [header(identity, good), chunk(good + b"x")],
    "another digest": lambda identity, good: [header(identity, good, sha256=bytes(32)), chunk(good)],
    "no digest": lambda identity, good: [header(identity, good, sha256=b""), chunk(good)],
    "no collection": lambda identity, good: [header(b"", good), chunk(good)],
    "a long collection id": lambda identity, good: [header(identity * 1000, good), chunk(good)],
    "no queries": lambda identity, good: [header(identity, good, queries=0), chunk(good)],
    "more queries than sent": lambda identity, good: [header(identity, good, queries=2), chunk(good)],
    "queries without end": lambda identity, good: [header(identity, good, queries=2**32 - 1), chunk(good)],
    "a block of nothing": lambda identity, good: [header(identity, b"")],
    "a future sequence": lambda identity, good: [
        header(identity, good, minimum_sequence=2**64 - 1),
        chunk(good),
    ],
    "a region that there is not": lambda identity, good: [
        header(identity, good, regions=[7]),
        chunk(good),
    ],
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_bad_stream_is_refused(evaluator, gallery, good, name):
    code, reason, message = score(evaluator, BAD_STREAMS[name](gallery.record.collection_id, good))
    assert code is INVALID
    assert reason in {"INVALID_ARGUMENT", "INVALID_CIPHERTEXT"}
    assert len(message.splitlines()) == 1


# Offset in the block, and what is written there: see the wire form in `blindsight.ciphertext.header`.
BAD_BLOCKS = {
    "magic": (0, b"XXXX"),
    "version": (4, b"\x02"),
    "scheme": (5, b"\x07"),
    "form": (6, b"\x05"),
    "no form": (6, b"\x00"),
    "seeded": (6, b"\x01\x02"),
    "full": (6, b"\x02\x02"),
    "a batch": (6, b"\x03"),
    "two polynomials": (7, b"\x02"),
    "no polynomials": (7, b"\x00"),
    "parameter set": (8, b"\x63\x00"),
    "another known parameter set": (5, b"\x02\x04\x01\x02\x00"),
    "reserved": (10, b"\x01"),
    "no columns": (12, bytes(4)),
    "a column more": (12, struct.pack("<I", 4)),
    "a column less": (12, struct.pack("<I", 2)),
    "columns without end": (12, b"\xff\xff\xff\xff"),
    "another key": (16, bytes(16)),
    "first residue is its prime": (HEADER.size, struct.pack("<I", FIRST)),
    "first residue is the largest": (HEADER.size, struct.pack("<I", LARGEST)),
    "last residue for the main region is its prime": (-COLUMN_BYTES - 4, struct.pack("<I", LAST)),
    "first residue for the tail is its prime": (-COLUMN_BYTES, struct.pack("<I", FIRST)),
    "last residue is its prime": (-4, struct.pack("<I", LAST)),
    "last residue is the largest": (-4, struct.pack("<I", LARGEST)),
}


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_a_bad_block_is_refused(evaluator, gallery, good, name):
    offset, data = BAD_BLOCKS[name]
    block = patched(good, offset % len(good), data)
    code, reason, message = score(evaluator, requests(gallery.record.collection_id, block))
    assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1000, -1])
def test_a_truncated_block_is_refused(evaluator, gallery, good, size):
    code, reason, _ = score(evaluator, requests(gallery.record.collection_id, good[:size]))
    assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_bytes_and_random_damage_of_the_header_are_refused(evaluator, gallery, good, data):
    junk = data.draw(st.binary(min_size=1, max_size=2000))
    place = data.draw(st.integers(0, HEADER.size - 1))
    flipped = patched(good, place, bytes([good[place] ^ data.draw(st.integers(1, 255))]))
    for block in (junk, good[: HEADER.size] + junk, flipped):
        code, reason, _ = score(evaluator, requests(gallery.record.collection_id, block))
        wanted = "SECRET_MATERIAL_REFUSED" if block.startswith(SECRET_MAGICS) else "INVALID_CIPHERTEXT"
        assert (code, reason) == (INVALID, wanted)


@pytest.mark.parametrize("regions", [[1], [2]], ids=["main", "tail"])
def test_columns_of_both_regions_for_one_of_them_are_refused(evaluator, gallery, good, regions):
    code, reason, _ = score(evaluator, requests(gallery.record.collection_id, good, regions=regions))
    assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")


def test_queries_for_a_region_that_there_is_not_are_refused(evaluator, gallery, good):
    code, reason, _ = score(evaluator, requests(gallery.record.collection_id, good, regions=[7]))
    assert (code, reason) == (INVALID, "INVALID_ARGUMENT")


def test_a_bad_residue_in_a_later_pass_is_refused(evaluator, gallery):
    forms = unit_rows(20, 8, seed=6)
    good = gallery.query(forms)
    for place, prime in (
        (HEADER.size + 19 * gallery.layout.query_ciphertexts * COLUMN_BYTES, FIRST),
        (len(good) - 4, LAST),
    ):
        block = patched(good, place, struct.pack("<I", prime))
        code, reason, _ = score(evaluator, requests(gallery.record.collection_id, block, 20))
        assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")


def test_a_residue_that_is_one_less_than_its_prime_is_taken(evaluator, gallery, good):
    block = patched(good, len(good) - 4, struct.pack("<I", LAST - 1))
    stream = requests(gallery.record.collection_id, block)
    *_, last = evaluator.stub.Score(stream, timeout=30)
    assert last.WhichOneof("part") == "summary"


def test_serialised_secret_keys_are_called_by_their_name(evaluator, gallery, tmp_path):
    context = seal.context(PARAMETERS)
    path = tmp_path / "secret"
    sealapi.KeyGenerator(context).secret_key().save(str(path))
    for secret in (path.read_bytes(), b"BSKY" + bytes(500), ADDITIVE_SECRET_MAGIC + bytes(500)):
        code, reason, _ = score(evaluator, requests(gallery.record.collection_id, secret))
        assert (code, reason) == (INVALID, "SECRET_MATERIAL_REFUSED")
        wrong_digest = requests(gallery.record.collection_id, secret, sha256=bytes(32))
        assert score(evaluator, wrong_digest)[1] == "SECRET_MATERIAL_REFUSED"


def test_a_query_of_another_owner_is_refused(evaluator, gallery):
    block = Owner(1).query(gallery.layout, FORMS)
    code, reason, _ = score(evaluator, requests(gallery.record.collection_id, block))
    assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")


def test_a_query_of_another_parameter_set_or_layout_is_refused(evaluator, gallery):
    owner, identity = gallery.owner, gallery.record.collection_id
    for parameters in PARAMETER_SETS.values():
        if parameters != PARAMETERS:
            layout = collection_layout((8,), parameters.ring_degree, 4)
            block = ask(owner.keys(layout, identity, parameters), FORMS).block
            code, reason, message = score(evaluator, requests(identity, block))
            assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")
            assert message == f"ciphertext of {parameters.name}, want {PARAMETERS.name}"
    for stride in (1, 2, 8):
        block = owner.query(collection_layout((8,), PARAMETERS.ring_degree, stride), FORMS)
        code, reason, _ = score(evaluator, requests(identity, block))
        assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")


def test_batches_and_planes_are_no_queries(evaluator, gallery, good):
    key_id, identity = gallery.owner.key_id, gallery.record.collection_id
    residues = random_residues(PARAMETERS, 6, 1).reshape(3, 2, 2, PARAMETERS.ring_degree)
    seeds = np.zeros((3, SEED_BYTES), np.uint8)
    blocks = {
        Form.BATCH: gallery.encrypt(MAIN_0, unit_rows(1, 8))[1],
        Form.SEEDED: seeded_block(PARAMETERS, key_id, residues[:, :1], seeds).to_bytes(),
        Form.FULL: full_block(PARAMETERS, key_id, residues).to_bytes(),
    }
    for form, block in blocks.items():
        code, reason, message = score(evaluator, requests(identity, block))
        assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")
        assert message == f"block of {form.name} ciphertexts, want COLUMNS"


@pytest.mark.parametrize("place", [HEADER.size, -BATCH_TRAILER_BYTES - 4], ids=["first", "last"])
@pytest.mark.parametrize("value", [LAST, LARGEST])
def test_a_stored_batch_with_a_residue_over_its_prime_is_told_and_scored_by_nobody(
    evaluator, stored, place, value
):
    bad = new_gallery(Owner(), stored, next(_numbers))
    bad.add(MAIN_0, unit_rows(3, 8))
    _, block = bad.encrypt(TAIL_0, unit_rows(1, 8))
    bad.append(TAIL_0, 0, patched(block, place % len(block), struct.pack("<I", value)), 1)
    for _ in range(2):
        asked = requests(bad.record.collection_id, bad.ask(FORMS).block, minimum_sequence=bad.sequence)
        code, reason, _ = score(evaluator, asked)
        assert (code, reason) == (grpc.StatusCode.DATA_LOSS, "DATA_LOSS")


@pytest.mark.parametrize("size", [(256 << 20) + 1, 2**64 - 1])
def test_more_bytes_than_allowed_are_refused_before_they_come(evaluator, gallery, good, size):
    stream = itertools.chain([header(gallery.record.collection_id, good, size_bytes=size)], [chunk(good)])
    code, reason, _ = score(evaluator, stream)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")


def test_searches_that_announce_too_much_together_are_refused(evaluator, gallery, good):
    waiting = []
    size = 200 << 20
    identity = gallery.record.collection_id
    try:
        for _ in range(2):
            release = _Gate()
            call = evaluator.stub.Score(release.stream(header(identity, good, size_bytes=size)), timeout=30)
            waiting.append((release, call))
        wanted = grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"

        def refused():
            return score(evaluator, [header(identity, good, size_bytes=size)])[:2] == wanted

        storage_wait(refused)
        gallery.check(evaluator.score(gallery, FORMS))
    finally:
        for release, call in waiting:
            call.cancel()
            release.open()


class _Gate:
    """A stream that sends one message and then holds on."""

    def __init__(self):
        import threading

        self._event = threading.Event()

    def stream(self, first):
        yield first
        self._event.wait(30)

    def open(self):
        self._event.set()


def storage_wait(condition):
    from support.services import wait_until

    wait_until(condition, what="the refusal")


def test_a_message_over_the_limit_is_refused(evaluator, gallery):
    huge = bytes(5 << 20)
    with pytest.raises(grpc.RpcError) as caught:
        list(
            evaluator.stub.Score(iter([header(gallery.record.collection_id, huge), chunk(huge)]), timeout=30)
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("size", [0, 1, 15, 17, 1 << 20])
@pytest.mark.parametrize("rpc", ["Prepare", "DropCollection"])
def test_a_bad_collection_id_is_refused(evaluator, rpc, size):
    request = getattr(pb, rpc + "Request")(collection_id=b"i" * size)
    code, reason, _ = refusal(lambda: getattr(evaluator.stub, rpc)(request, timeout=30))
    assert (code, reason) == (INVALID, "INVALID_ARGUMENT")


@pytest.mark.parametrize("rpc", pb.DESCRIPTOR.services_by_name["EvaluatorService"].methods_by_name)
@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"junk" * 1000], ids=len)
def test_bytes_that_are_no_message_do_no_harm(evaluator, rpc, payload):
    service = pb.DESCRIPTOR.services_by_name["EvaluatorService"]
    streams = service.methods_by_name[rpc].client_streaming
    kind = evaluator.channel.stream_stream if streams else evaluator.channel.unary_stream
    call = kind(f"/{service.full_name}/{rpc}")
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([payload]) if streams else payload, timeout=30))
    assert caught.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED


def test_refusals_and_logs_hold_no_bytes_of_what_came(evaluator, gallery, untrusted):
    canary = b"canary-of-the-test"
    block = patched(gallery.query(FORMS), 0, canary)
    _, _, message = score(evaluator, requests(gallery.record.collection_id, block))
    log = (untrusted.folder / "evaluator.log").read_text()
    for shown in (message, log):
        assert canary.decode() not in shown
        assert canary.hex() not in shown
    assert "Traceback" not in log


def test_the_evaluators_folder_holds_ciphertexts_and_public_parameters_alone(evaluator, gallery, untrusted):
    secrets = gallery.secrets()
    assert max(map(len, secrets)) > 1000
    kinds = set()
    for path in untrusted.files:
        content = path.read_bytes()
        kinds.add(path.suffix)
        for secret in secrets:
            for start in range(0, len(secret) - 31, 997):
                assert secret[start : start + 32] not in content
    assert kinds == {"", ".json", ".seg"}
    # The search would find them: it finds a batch, which the evaluator has as it was stored.
    (segment,) = (path for path in untrusted.files if path.name.startswith("tail"))
    (batch,) = gallery.written[TAIL_0]
    assert batch.tiles.tobytes()[:32] in segment.read_bytes()
