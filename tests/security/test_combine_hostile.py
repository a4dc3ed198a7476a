"""Hostile bytes at the evaluator's and the keyholder's Combine: one clear status each, and both serve on."""

import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.additive import key
from support.evaluator import Client, Untrusted
from support.photos import jpeg
from support.services import Services, wait_until
from support.storage import refusal

from blindsight.additive import AdditiveScheme
from blindsight.additive.block import HEADER
from blindsight.additive.keys import PUBLIC_MAGIC, write_numbers
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2, keyholder_pb2_grpc
from blindsight.runtime.transfer import MAX_COMBINE_BYTES, chunks, digest
from blindsight.trusted.additive import AdditiveKey
from blindsight.trusted.keyring import keys

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PAILLIER, SCRAMBLE = AdditiveScheme.PAILLIER, AdditiveScheme.SCRAMBLE
SMALL = AdditiveScheme.LIGHTPHE_PAILLIER
VALUES = np.random.default_rng(5).integers(-255, 256, (2, 1, 300))
WEIGHTS = (2, -1)


def block(number, scheme=PAILLIER, owner=None, **changes):
    layout = {"value_bits": 8, "guard_bits": 2, **changes}
    return (owner or key(scheme)).encrypt(VALUES[number], **layout).to_bytes()


BLOCKS = {scheme: (block(0, scheme), block(1, scheme)) for scheme in (PAILLIER, SCRAMBLE, SMALL)}
GOOD = BLOCKS[PAILLIER]


def announced(data, **changes):
    return pb.AnnouncedBlock(**{"size_bytes": len(data), "sha256": digest(data), **changes})


def header(whole=GOOD, /, **changes):
    given_ = {
        "public_key": key(PAILLIER).public_key.to_bytes(),
        "weights": WEIGHTS,
        "blocks": [announced(one) for one in whole],
    }
    return pb.CombineRequest(header=pb.CombineHeader(**{**given_, **changes}))


def sent(*blocks):
    return [pb.CombineRequest(chunk=chunk) for one in blocks for chunk in chunks(one)]


def stream(whole=GOOD, /, **changes):
    return [header(whole, **changes), *sent(*whole)]


def of(scheme, **changes):
    """A whole stream under another scheme."""
    return stream(BLOCKS[scheme], public_key=key(scheme).public_key.to_bytes(), **changes)


def result(client, requests):
    """The block that a stream is answered with."""
    answers = list(client.stub.Combine(iter(requests), timeout=60))
    parts = [one.WhichOneof("part") for one in answers]
    assert parts == ["header", *["chunk"] * (len(parts) - 2), "summary"]
    data = b"".join(one.chunk for one in answers)
    assert len(data) == answers[0].header.size_bytes
    assert answers[-1].summary.compute_seconds > 0
    return data


def right(client):
    opened = key(PAILLIER).decrypt(key(PAILLIER).read(result(client, stream())))
    return np.array_equal(opened, 2 * VALUES[0] - VALUES[1])


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    quick = {"evaluator": {"stall_seconds": "2", "workers": "1"}, "keyholder": {"workers": "1"}}
    running = Services(tmp_path_factory.mktemp("combine"), settings=quick)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(services):
    with Client(services.address("evaluator")) as connected:
        yield connected


@pytest.fixture
def evaluator(client, services):
    """The service before a hostile call; afterwards the same processes must answer right."""
    before = [process.pid for process in services["evaluator"].workers()]
    assert before
    yield client
    assert client.serving()
    assert right(client)
    assert [process.pid for process in services["evaluator"].workers()] == before


def refused(evaluator, requests):
    """Status code and reason of a stream that must fail, with one short line."""
    code, reason, message = refusal(lambda: list(evaluator.stub.Combine(iter(requests), timeout=60)))
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    return code, reason


def patched(data, offset, new):
    offset %= len(data)
    return data[:offset] + new + data[offset + len(new) :]


def test_a_good_stream_is_answered_and_chunks_may_be_of_any_size(evaluator):
    tiny = [pb.CombineRequest(chunk=one) for data in GOOD for one in chunks(data, 100)]
    assert result(evaluator, [header(), *tiny])[: HEADER.size] == result(evaluator, stream())[: HEADER.size]


# --- the evaluator's door ------------------------------------------------------------------------

OWNERS_SECRET = key(PAILLIER).to_secret().reveal_secret()
SEAL_SECRET = next(iter(keys.create().secret_keys.values())).reveal_secret()
SECRETS = {"an additive key": OWNERS_SECRET, "a SEAL key": SEAL_SECRET, "a key file": b"BSKY" + bytes(100)}


@pytest.mark.parametrize("name", SECRETS)
def test_secret_keys_are_turned_away_as_public_key_and_as_block(evaluator, name):
    secret = SECRETS[name]
    refusals = [
        stream(public_key=secret),
        stream((secret, GOOD[1])),
        stream((GOOD[0], secret)),
        [header((secret, GOOD[1]), blocks=[announced(GOOD[0])] * 2), *sent(secret[:90])],
    ]
    for requests in refusals:
        assert refused(evaluator, requests) == (INVALID, "SECRET_MATERIAL_REFUSED")


STRANGER = AdditiveKey.generate(PAILLIER, 2048)
PUBLIC = key(PAILLIER).public_key


def public(numbers, scheme=PAILLIER, key_id=PUBLIC.key_id):
    """A public key that nobody checked."""
    return write_numbers(PUBLIC_MAGIC, scheme, key_id, numbers)


N, H = PUBLIC.numbers
BAD_KEYS = {
    "none": b"",
    "junk": b"junk" * 100,
    "another magic": patched(PUBLIC.to_bytes(), 0, b"BSAX"),
    "another version": patched(PUBLIC.to_bytes(), 4, b"\x02"),
    "no scheme": patched(PUBLIC.to_bytes(), 5, b"\xff"),
    "truncated": PUBLIC.to_bytes()[:-1],
    "longer": PUBLIC.to_bytes() + b"x",
    "numbers without end": patched(PUBLIC.to_bytes(), 6, b"\xff\xff"),
    "a number without end": patched(PUBLIC.to_bytes(), 24, b"\xff\xff\xff\xff"),
    "too large": b"BSAP" + bytes(1 << 20),
    "an even modulus": public((N + 1, H)),
    "a modulus of 9000 bits": public((2**9000 + 1, H)),
    "a modulus of 1024 bits": public((2**1023 + 1, 5)),
    "a modulus of 1": public((1, 1)),
    "a modulus of 0": public((0, 0)),
    "no unit": public((N, N)),
    "out of the group": public((N, N * N)),
    "of another scheme": key(SMALL).public_key.to_bytes(),
    "LightPHE's, 1024 bits": public((2**1023 + 1, 2**1023 + 2), SMALL),
    "LightPHE's, no point": public((5, 5), AdditiveScheme.LIGHTPHE_EC_ELGAMAL),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_public_key_is_refused(evaluator, name):
    code, reason = refused(evaluator, stream(public_key=BAD_KEYS[name]))
    assert (code, reason) == (INVALID, "INVALID_ARGUMENT")


def test_small_keys_are_refused_unless_the_caller_says_that_they_are_insecure(evaluator):
    assert refused(evaluator, of(SMALL)) == (INVALID, "INVALID_ARGUMENT")
    data = result(evaluator, of(SMALL, insecure_small_keys=True))
    opened = key(SMALL).decrypt(key(SMALL).read(data))
    np.testing.assert_array_equal(opened, 2 * VALUES[0] - VALUES[1])
    tiny = stream(public_key=public((15, 2), SMALL), insecure_small_keys=True)
    assert refused(evaluator, tiny) == (INVALID, "INVALID_ARGUMENT")


def number(offset, value):
    """Writes one number of a ciphertext; `offset` counts numbers."""
    size = struct.unpack_from("<I", GOOD[0], 8)[0]
    return HEADER.size + offset * size, value.to_bytes(size, "little")


# Offset in the block, and what is written there: see the wire form in `blindsight.additive.block`.
BAD_BLOCKS = {
    "magic": (0, b"XXXX"),
    "a ring's ciphertexts": (0, b"BSCT"),
    "version": (4, b"\x02"),
    "another scheme": (5, b"\x10"),
    "no scheme": (5, b"\x63"),
    "reserved": (6, b"\x01"),
    "number size": (8, b"\x01"),
    "no ciphertexts": (12, bytes(4)),
    "ciphertexts without end": (12, b"\xff\xff\xff\xff"),
    "another key": (16, bytes(16)),
    "no rows": (32, bytes(4)),
    "rows without end": (32, b"\xff\xff\xff\xff"),
    "columns without end": (36, b"\xff\xff\xff\xff"),
    "no values in a ciphertext": (40, bytes(2)),
    "more values than a message holds": (40, b"\xff\x1f"),
    "no value bits": (42, b"\x00"),
    "value bits without end": (42, b"\xff"),
    "guard bits without end": (43, b"\xff"),
    "scale bits without end": (44, b"\xff"),
    "no growth": (48, bytes(8)),
    "growth without end": (48, b"\xff" * 8),
    "a ciphertext of 0": number(0, 0),
    "a ciphertext of n^2": number(1, N * N),
    "a ciphertext of n": number(2, N),
    "the last ciphertext too large": (-8, b"\xff" * 8),
}


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_a_bad_block_is_refused(evaluator, name, side):
    blocks = list(GOOD)
    blocks[side] = patched(GOOD[side], *BAD_BLOCKS[name])
    assert refused(evaluator, stream(blocks)) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("size", [64, 65, 1000, -1])
def test_a_block_that_was_cut_and_announced_so_is_refused(evaluator, size):
    assert refused(evaluator, stream((GOOD[0][:size], GOOD[1]))) == (INVALID, "INVALID_CIPHERTEXT")
    assert refused(evaluator, stream((GOOD[0], GOOD[1] + b"x"))) == (INVALID, "INVALID_CIPHERTEXT")


def zeros(size):
    return [pb.CombineRequest(chunk=bytes(size))]


A, B = GOOD
BAD_STREAMS = {
    "nothing": [],
    "no header": sent(A, B),
    "a header alone": [header()],
    "two headers": [header(), header(), *sent(A, B)],
    "a header in the middle": [header(), *sent(A), header(), *sent(B)],
    "an empty message": [header(), pb.CombineRequest(), *sent(A, B)],
    "an empty chunk": [header(), *zeros(0), *sent(A, B)],
    "one block": [header(), *sent(A)],
    "half a block": [header(), *sent(A, B[: len(B) // 2])],
    "three blocks": [header(), *sent(A, B, A)],
    "a byte more": [header(), *sent(A, B), *zeros(1)],
    "a chunk of two blocks": [header(), *sent(A + B)],
    "the other order": [header(), *sent(B, A)],
    "another digest": [header(blocks=[announced(A), announced(B, sha256=bytes(32))]), *sent(A, B)],
    "no digest": [header(blocks=[announced(A), announced(B, sha256=b"")]), *sent(A, B)],
    "no blocks": [header(blocks=[], weights=[])],
    "a weight too few": stream(weights=[1]),
    "a weight too many": stream(weights=[1, 1, 1]),
    "weights without end": stream(weights=[1] * 100_000),
    "blocks without end": [header(blocks=[announced(A)] * 65, weights=[1] * 65)],
    "weights that overflow": stream(weights=[4, 1]),
    "the largest weights": stream(weights=[2**63 - 1, -(2**63)]),
    "a sum under scramble": of(SCRAMBLE, weights=[1, 1]),
    "a weighted sum under scramble": of(SCRAMBLE, weights=[1, -2]),
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_bad_stream_is_refused(evaluator, name):
    assert refused(evaluator, BAD_STREAMS[name]) == (INVALID, "INVALID_ARGUMENT")


def test_blocks_that_do_not_belong_together_are_refused(evaluator):
    others = {
        "another owner": block(1, owner=STRANGER),
        "another scheme": BLOCKS[SMALL][1],
        "other value bits": block(1, value_bits=9),
        "other guard bits": block(1, guard_bits=3),
        "another scale": block(1, scale_bits=1),
    }
    for other in others.values():
        code, _ = refused(evaluator, stream((GOOD[0], other)))
        assert code is INVALID


@pytest.mark.parametrize("size", [MAX_COMBINE_BYTES, 2**64 - 1])
def test_too_many_bytes_are_refused_before_they_come(evaluator, size):
    large = [header(blocks=[announced(A), announced(B, size_bytes=size)])]
    assert refused(evaluator, large) == (EXHAUSTED, "RESOURCE_EXHAUSTED")


def test_callers_who_announce_much_and_send_nothing_are_given_up(evaluator):
    """Two of them hold the whole room for blocks; once they are refused there is room again."""
    large = header(blocks=[announced(A), announced(B, size_bytes=MAX_COMBINE_BYTES - len(A))])
    over = threading.Event()

    def silent():
        yield large
        yield from sent(A)
        over.wait()

    def stall():
        # The question below has room of its own for a moment, which may be what this one lacked.
        while (answer := refused(evaluator, silent()))[0] is EXHAUSTED:
            time.sleep(0.01)
        return answer

    with ThreadPoolExecutor(2) as threads:
        stalled = [threads.submit(stall) for _ in range(2)]
        try:
            wait_until(lambda: crowded(evaluator), what="a room that is full")
            assert [one.result(60) for one in stalled] == [(INVALID, "INVALID_ARGUMENT")] * 2
        finally:
            over.set()


def crowded(evaluator):
    """Whether there is no room for another call: told before a byte of it comes, so asking costs nothing."""
    code, _ = refused(evaluator, [header(blocks=[announced(A), announced(B)])])
    return code is EXHAUSTED


def test_work_without_end_is_given_up(tmp_path):
    impatient = Untrusted(tmp_path, settings={"combine_seconds": "0.01", "workers": "1"})
    try:
        with Client(impatient.start().evaluator.address) as client:
            assert right(client)
            owner = key(PAILLIER)
            many = owner.encrypt(np.ones((1, 40_000), np.int64), value_bits=8, guard_bits=52).to_bytes()
            long = [many] * 8
            slow = stream(long, weights=[2**48 + 1] * 8, public_key=owner.public_key.to_bytes())
            assert refused(client, slow) == (EXHAUSTED, "RESOURCE_EXHAUSTED")
            assert right(client)
    finally:
        impatient.stop()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_bytes_and_random_damage_of_the_header_are_refused(client, data):
    junk = data.draw(st.binary(min_size=64, max_size=2000))
    place = data.draw(st.integers(0, HEADER.size - 1))
    flipped = patched(A, place, bytes([A[place] ^ data.draw(st.integers(1, 255))]))
    for bad in (junk, A[: HEADER.size] + junk, flipped):
        code, reason = refused(client, stream((bad, B)))
        assert code is INVALID
        assert reason in {"INVALID_CIPHERTEXT", "INVALID_ARGUMENT"}


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"junk" * 1000], ids=len)
def test_bytes_that_are_no_message_do_no_harm(evaluator, payload):
    call = evaluator.channel.stream_stream("/blindsight.evaluator.v1.EvaluatorService/Combine")
    code, _, _ = refusal(lambda: list(call(iter([payload]), timeout=30)))
    assert code is INVALID


def test_what_came_is_never_shown(evaluator, services):
    canary = b"CANARY-TEXT"
    _, _, message = refusal(
        lambda: list(evaluator.stub.Combine(iter(stream((patched(A, 0, canary), B))), timeout=30))
    )
    log = (services.folder / "evaluator.log").read_text()
    for shown in (message, log):
        assert canary.decode() not in shown
        assert canary.hex() not in shown
    assert "Traceback" not in log


# --- the keyholder's door ------------------------------------------------------------------------

PHOTO = jpeg("coffee")


def head(**given_):
    return keyholder_pb2.CombineRequest(header=keyholder_pb2.CombineHeader(**given_))


def image(**changes):
    fields = {"size_bytes": len(PHOTO), "sha256": digest(PHOTO), **changes}
    return keyholder_pb2.CombineRequest(image=keyholder_pb2.FileHeader(**fields))


def array(shape=(2, 2), data=bytes(32), **changes):
    fields = {"shape": shape, "sha256": digest(data), **changes}
    return keyholder_pb2.CombineRequest(array=keyholder_pb2.ArrayHeader(**fields))


def part(data=bytes(32)):
    return keyholder_pb2.CombineRequest(chunk=data)


WHOLE = [array(), part()]
BAD_OWNERS_STREAMS = {
    "nothing": [],
    "no header": [*WHOLE, *WHOLE],
    "a header alone": [head()],
    "two headers": [head(), head(), *WHOLE, *WHOLE],
    "one array": [head(), *WHOLE],
    "arrays without end": [head(), *WHOLE * 1000],
    "an empty message between": [head(), *WHOLE, keyholder_pb2.CombineRequest(), *WHOLE],
    "a chunk without an input": [head(), part()],
    "an empty chunk": [head(), array(), part(b""), part(), *WHOLE],
    "half an array": [head(), *WHOLE, array(), part(bytes(31))],
    "more than an array": [head(), array(), part(bytes(33)), *WHOLE],
    "an array in an array": [head(), array(), array(), part(), *WHOLE],
    "another digest": [head(), array(sha256=bytes(32)), part(), *WHOLE],
    "no digest": [head(), array(sha256=b""), part(), *WHOLE],
    "another digest of a picture": [head(), image(sha256=bytes(32)), part(PHOTO), *WHOLE],
    "no axes": [head(), array(()), part(bytes(8)), *WHOLE],
    "axes without end": [head(), array((1,) * 9, bytes(8)), part(bytes(8)), *WHOLE],
    "an axis of nothing": [head(), array((0, 4), b""), *WHOLE],
    "a mode of the future": [head(colours=99), *WHOLE, *WHOLE],
    "a scheme of the future": [head(scheme=99), *WHOLE, *WHOLE],
    "a scheme of rings": [head(scheme="SCHEME_CKKS"), *WHOLE, *WHOLE],
    "a small key": [head(key_bits=512), *WHOLE, *WHOLE],
    "a small key that is called insecure": [head(key_bits=512, insecure_small_keys=True), *WHOLE, *WHOLE],
    "a tiny key": [
        head(scheme="SCHEME_LIGHTPHE_PAILLIER", key_bits=8, insecure_small_keys=True),
        *WHOLE,
        *WHOLE,
    ],
    "a key without end": [head(key_bits=2**32 - 1), *WHOLE, *WHOLE],
    "weights without end": [head(weights=[1] * 100_000), *WHOLE, *WHOLE],
    "the largest weights": [head(weights=[2**63 - 1, -(2**63)]), *WHOLE, *WHOLE],
}


@pytest.fixture(scope="module")
def keyholder(services):
    with grpc.insecure_channel(services.address()) as channel:
        yield keyholder_pb2_grpc.KeyholderServiceStub(channel)


@pytest.mark.parametrize("name", BAD_OWNERS_STREAMS)
def test_a_bad_stream_of_the_owner_is_refused(keyholder, name):
    requests = BAD_OWNERS_STREAMS[name]
    code, reason, message = refusal(lambda: list(keyholder.Combine(iter(requests), timeout=60)))
    assert (code, reason) == (INVALID, "INVALID_ARGUMENT")
    assert len(message.splitlines()) == 1
    assert len(message) < 400


@pytest.mark.parametrize("shape", [(1 << 22, 2), (2**63, 2**63), (2**64 - 1,) * 8], ids=len)
def test_an_array_that_is_too_large_is_refused_before_it_comes(keyholder, shape):
    requests = [head(), array(shape)]
    code, reason, _ = refusal(lambda: list(keyholder.Combine(iter(requests), timeout=30)))
    assert (code, reason) == (EXHAUSTED, "RESOURCE_EXHAUSTED")


def test_a_good_stream_is_answered_after_all_that(keyholder):
    requests = [head(key_bits=2048), *WHOLE, *WHOLE]
    answers = list(keyholder.Combine(iter(requests), timeout=60))
    assert answers[-1].chunk == bytes(32)
