"""Verify from both sides: what the evaluator is given is noise to it, and bad streams do no harm."""

import grpc
import numpy as np
import pytest
from support.photos import jpeg
from support.relay import Relay
from support.services import Services
from support.storage import refusal

import blindsight
from blindsight.ciphertext.header import HEADER, SEED_BYTES
from blindsight.ciphertext.residues import read_block
from blindsight.parameters import PARAMETER_SETS
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as evaluator_pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.runtime.transfer import digest
from blindsight.trusted import schemes
from blindsight.trusted.keyring import keyfile, keys, passphrase

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

    running = Services(tmp_path_factory.mktemp("secrecy"), way=way)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected


def compared(relays):
    """Calls that multiplied a row by a query."""
    method = "/blindsight.evaluator.v1.EvaluatorService/Compare"
    return [call for relay in relays for call in relay.calls if call.method == method]


@pytest.fixture(scope="module", params=PAIRS)
def seen(request, vault, relays, services):
    """Parameter set, all that the evaluator got and gave of one verification, and the owner's own keys."""
    name = request.param
    vault.verify(A, B, scheme=PAIRS[name], parameter_set=name)
    call = compared(relays)[-1]
    secret = passphrase.from_file(services.folder / "keyholder.passphrase")
    owners = keyfile.read(services.folder / "keyholder" / "keys.bsky", secret)
    given = evaluator_pb.CompareRequest.FromString(call.asked[0])
    answered = evaluator_pb.CompareResponse.FromString(call.answered[0])
    return PARAMETER_SETS[name], given, answered, owners


def decrypted(parameters, given, answered, owners, key_set):
    """What a key set makes of the row, the query and their product: [N] each, as a share of the most."""
    secret = schemes.load(parameters, key_set.secret_key(parameters.name))
    fresh = [read_block(block, parameters, owners.key_id) for block in (given.gallery, given.query)]
    product = read_block(answered.block, parameters, owners.key_id)
    modulus = parameters.plain_modulus or parameters.modulus
    room = modulus / 2 / parameters.gallery_scale
    inputs = [secret.decrypt_gallery([block])[0] / room for block in fresh]
    return [*inputs, secret.decrypt_scores(product.residues)[0] / parameters.score_headroom]


def test_the_evaluator_gets_ciphertexts_of_both_sides_and_nothing_else(seen):
    parameters, given, answered, owners = seen
    digits = 1 if parameters.pair_steps == 1 else 2
    for block in (given.gallery, given.query):
        parsed = read_block(block, parameters, owners.key_id)
        assert (parsed.header.count, parsed.header.polynomials) == (digits, 2)
    assert {field.name for field, _ in given.ListFields()} == {"gallery", "query", "fields"}
    assert {field.name for field, _ in answered.ListFields()} == {"block", "kernel_seconds"}


def test_the_owners_key_finds_both_vectors_and_their_product(seen):
    parameters, *_, owners = seen
    row, query, product = decrypted(*seen, owners)
    unit = A / np.linalg.norm(A)
    np.testing.assert_allclose(row[:128] / np.linalg.norm(row[:128]), unit, atol=1e-3)
    assert np.abs(row[128:]).max() < np.abs(row).max() / 100
    assert np.abs(query).max() < 0.5
    cosine = float(A @ B / np.linalg.norm(A) / np.linalg.norm(B))
    assert product[0] * parameters.score_headroom == pytest.approx(cosine, abs=1e-3)


def test_to_any_other_key_they_are_noise_over_the_whole_range(seen):
    """A uniform value between -1 and 1 has mean 0 and deviation 1 / sqrt(3); 4,096 of them stay near both."""
    row, query, product = decrypted(*seen, keys.create())
    for values in (row, query, product):
        assert abs(values.mean()) < 0.06
        assert values.std() == pytest.approx(1 / np.sqrt(3), rel=0.06)
        for vector in (A, B):
            assert abs(np.corrcoef(values[:128], vector)[0, 1]) < 0.45


def test_the_same_pair_looks_different_every_time(vault, relays):
    for _ in range(2):
        vault.verify(A, A)
    given = [evaluator_pb.CompareRequest.FromString(call.asked[0]) for call in compared(relays)[-2:]]
    blocks = [block for one in given for block in (one.gallery, one.query)]
    residues = [np.frombuffer(block[HEADER.size : -SEED_BYTES], "<u4") for block in blocks]
    for index, one in enumerate(residues):
        for other in residues[:index]:
            assert (one == other).mean() < 0.001
    assert len({block[-SEED_BYTES:] for block in blocks}) == 4


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
    "a scheme that is long": [head(scheme="x" * 100), vector(), vector()],
    "a threshold that is none": [head(threshold=float("nan")), vector(), vector()],
    "a collection without an id": [head(collection="c"), vector()],
    "an id without a collection": [head(id="i"), vector()],
    "a collection and a scheme": [head(collection="c", id="i", scheme="ckks"), vector()],
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
