"""Verify from both sides: what the evaluator is given is noise to it, and bad streams do no harm."""

import grpc
import numpy as np
import pytest
from support.photos import jpeg
from support.relay import Relay
from support.services import NO_RENEWALS, Services
from support.storage import refusal

import blindsight
from blindsight.ciphertext.header import HEADER, BlockHeader, Form, parse_header
from blindsight.parameters import PARAMETER_SETS
from blindsight.ring.tiles import view_tiles
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as evaluator_pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.runtime.transfer import digest
from blindsight.trusted.keyring import keyfile, passphrase

A, B = np.random.default_rng(3).normal(size=(2, 128)).astype(np.float32)
PAIRS = {name: parameters.scheme.name.lower() for name, parameters in PARAMETER_SETS.items()}


@pytest.fixture(scope="module")
def relays():
    made = []
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def services(tmp_path_factory, relays):
    def way(_, server, address):
        if server != "evaluator":
            return address
        relays.append(Relay(address))
        return relays[-1].address

    running = Services(tmp_path_factory.mktemp("secrecy"), {"storage": NO_RENEWALS}, way=way)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected


def compared(relays):
    """Calls that multiplied rows by queries."""
    method = "/blindsight.evaluator.v1.EvaluatorService/CompareAll"
    return [call for relay in relays for call in relay.calls if call.method == method]


def sent(call):
    """The header of a call, and its two blocks."""
    header, *chunks = map(evaluator_pb.CompareAllRequest.FromString, call.asked)
    assert header.WhichOneof("part") == "header"
    assert {one.WhichOneof("part") for one in chunks} == {"chunk"}
    data = b"".join(one.chunk for one in chunks)
    size = header.header.gallery.size_bytes
    return header.header, data[:size], data[size:]


def residues_of(block, parameters, owners):
    columns = parse_header(block).count
    return view_tiles(block, parameters, owners.key_id, Form.COLUMNS, columns)[0]


@pytest.fixture(scope="module", params=PAIRS)
def seen(request, vault, relays, services):
    """Parameter set, all that the evaluator got and gave of one verification, and the owner's keys."""
    name = request.param
    vault.verify(A, B, scheme=PAIRS[name], parameter_set=name)
    secret = passphrase.from_file(services.folder / "keyholder.passphrase")
    owners = keyfile.read(services.folder / "keyholder" / "keys.bsky", secret)
    return PARAMETER_SETS[name], compared(relays)[-1], owners


def test_the_evaluator_gets_ciphertexts_of_both_sides_and_nothing_else(seen):
    parameters, call, owners = seen
    fields = 1 if parameters.pair_steps == 1 else 2
    header, gallery, query = sent(call)
    for block in (gallery, query):
        assert parse_header(block) == BlockHeader(parameters, owners.key_id, Form.COLUMNS, fields)
        assert len(block) == HEADER.size + residues_of(block, parameters, owners).nbytes
    assert {field.name for field, _ in header.ListFields()} == {"fields", "gallery", "queries", "fold"}
    result, summary = map(evaluator_pb.CompareAllResponse.FromString, call.answered)
    assert {field.name for field, _ in result.result.ListFields()} <= {"rows", "queries", "answers"}
    assert {field.name for field, _ in summary.summary.ListFields()} <= {"check_seconds", "kernel_seconds"}


def test_what_it_gets_and_gives_is_uniform_noise(seen):
    """Sixteen ranges are as likely as each other: chi-square of 15 degrees, beyond the bound 1 in 10^6."""
    parameters, call, owners = seen
    _, gallery, query = sent(call)
    for block in (gallery, query):
        tiles = residues_of(block, parameters, owners)
        rows = tiles.shape[0] // len(parameters.primes)
        for index, prime in enumerate(parameters.primes):
            values = tiles[index * rows : (index + 1) * rows].ravel()
            counts = np.bincount(values.astype(np.int64) * 16 // prime, minlength=16)
            expected = values.size / 16
            assert ((counts - expected) ** 2 / expected).sum() < 56.5
            for vector in (A, B):
                assert abs(np.corrcoef(values[:128], vector)[0, 1]) < 0.45


def test_the_same_pair_looks_different_every_time(vault, relays):
    for _ in range(2):
        vault.verify(A, A)
    blocks = [block for call in compared(relays)[-2:] for block in sent(call)[1:]]
    residues = [np.frombuffer(block[HEADER.size :], "<u4") for block in blocks]
    for index, one in enumerate(residues):
        for other in residues[:index]:
            assert (one == other).mean() < 0.001


# --- hostile streams ---------------------------------------------------------------------------


@pytest.fixture
def keyholder(services, vault):
    with grpc.insecure_channel(services.address()) as channel:
        yield channel
    assert vault.verify(A, A).verified
    assert "Traceback" not in services["keyholder"].log.read_text()


def head(**given):
    return pb.VerifyRequest(header=pb.VerifyHeader(**given))


def image(data, **changes):
    announced = {"size_bytes": len(data), "sha256": digest(data), **changes}
    return pb.VerifyRequest(image=pb.FileHeader(**announced))


def chunk(data):
    return pb.VerifyRequest(chunk=data)


def vector(values=(1.0, 2.0), dimension=2):
    return pb.VerifyRequest(
        vectors=pb.VectorBlock(values=np.array(values, "<f4").tobytes(), dimension=dimension)
    )


PHOTO = jpeg("coffee")
WHOLE = [image(PHOTO), chunk(PHOTO)]
BAD_STREAMS = {
    "nothing": [],
    "an empty message": [pb.VerifyRequest()],
    "no header": [vector(), vector()],
    "a header alone": [head()],
    "two headers": [head(), head(), vector(), vector()],
    "one vector": [head(), vector()],
    "three vectors": [head(), vector(), vector(), vector()],
    "vectors without end": [head(), *[vector()] * 10_000],
    "an empty message between": [head(), vector(), pb.VerifyRequest(), vector()],
    "a chunk without a photo": [head(), chunk(PHOTO)],
    "a photo without chunks": [head(), image(PHOTO), *WHOLE],
    "half a photo": [head(), *WHOLE, image(PHOTO), chunk(PHOTO[:1000])],
    "an empty chunk": [head(), image(PHOTO), chunk(b""), chunk(PHOTO), *WHOLE],
    "more than announced": [head(), image(PHOTO), chunk(PHOTO + b"x"), *WHOLE],
    "another digest": [head(), image(PHOTO, sha256=bytes(32)), chunk(PHOTO), *WHOLE],
    "no digest": [head(), image(PHOTO, sha256=b""), chunk(PHOTO), *WHOLE],
    "one photo and one vector": [head(), *WHOLE, vector()],
    "no values": [head(), vector(()), vector()],
    "no dimension": [head(), vector(dimension=0), vector()],
    "two vectors in one block": [head(), vector((1, 2, 3, 4)), vector()],
    "a part of a vector": [head(), vector(dimension=3), vector()],
    "infinity": [head(), vector((1, np.inf)), vector()],
    "zeros": [head(), vector((0, 0)), vector()],
    "different dimensions": [head(), vector(), vector((1, 2, 3), 3)],
    "a huge vector": [head(), *[vector(np.ones(100_000), 100_000)] * 2],
    "a metric of the future": [head(metric=99), vector(), vector()],
    "dot": [head(metric=pb.METRIC_DOT), vector(), vector()],
    "a scheme of the future": [head(scheme=99), vector(), vector()],
    "a threshold that is none": [head(threshold=float("nan")), vector(), vector()],
    "a collection without an id": [head(collection="c"), vector()],
    "an id without a collection": [head(id="i"), vector()],
    "a collection and a scheme": [head(collection="c", id="i", scheme="SCHEME_CKKS"), vector()],
    "a collection and a metric": [head(collection="c", id="i", metric=pb.METRIC_COSINE), vector()],
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_bad_stream_is_refused(keyholder, name):
    stub = keyholder_pb2_grpc.KeyholderServiceStub(keyholder)
    code, reason, message = refusal(lambda: stub.Verify(iter(BAD_STREAMS[name]), timeout=30))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in {"INVALID_ARGUMENT", "INVALID_VECTOR"}
    assert len(message.splitlines()) == 1
    assert len(message) < 300


@pytest.mark.parametrize("size", [(64 << 20) + 1, 2**64 - 1])
def test_a_photo_that_is_too_large_is_refused_before_it_comes(keyholder, size):
    stub = keyholder_pb2_grpc.KeyholderServiceStub(keyholder)
    stream = [head(), image(PHOTO, size_bytes=size)]
    code, reason, _ = refusal(lambda: stub.Verify(iter(stream), timeout=30))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"junk" * 1000], ids=len)
def test_bytes_that_are_no_message_do_no_harm(keyholder, payload):
    call = keyholder.stream_unary("/blindsight.keyholder.v1.KeyholderService/Verify")
    with pytest.raises(grpc.RpcError) as caught:
        call(iter([payload]), timeout=30)
    assert caught.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
