"""Hostile bytes at the evaluator's Transform of planes under Paillier: one clear status each."""

import asyncio
import threading

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.additive import key
from support.evaluator import Client, Untrusted
from support.storage import refusal

from blindsight.additive import AdditiveScheme
from blindsight.additive.block import HEADER
from blindsight.additive.keys import PUBLIC_MAGIC, write_numbers
from blindsight.ciphertext.header import ADDITIVE_HEADER
from blindsight.errors import ResourceExhausted
from blindsight.packing.kernels import PlaneKernel
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.runtime.processpool import WorkerPool
from blindsight.runtime.transfer import digest
from blindsight.trusted.additive import AdditiveKey
from blindsight.wire.planes import PaillierPlanes, PlaneTiles
from services.evaluator import tasks
from services.evaluator.operations.intake import Limits
from services.evaluator.operations.paillier_planes import PaillierOperations

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PAILLIER = AdditiveScheme.PAILLIER
OWNER = key(PAILLIER)
N, H = OWNER.public_key.numbers
LAYOUT = {"value_bits": 8, "guard_bits": 4}
SLOTS = OWNER.encrypt(np.zeros((1, 5000), np.int64), **LAYOUT).header.layout.per_ciphertext
# Positions of a block with a halo of 1, a slot for each block.
HEIGHT, WIDTH = 3, 4
VALUES = np.random.default_rng(6).integers(0, 256, (HEIGHT, WIDTH, SLOTS))


def row(values, owner=OWNER, **changes):
    return owner.encrypt(values.reshape(1, -1), **{**LAYOUT, **changes}).to_bytes()


GOOD = [row(values) for values in VALUES]
HEAD = GOOD[0][: HEADER.size]


def kernel(**changes):
    given_ = {
        "height": 3,
        "width": 3,
        "anchor_row": 1,
        "anchor_column": 1,
        "weights": [0, 1, 0, 2, -3, 4, 0, -1, 0],
    }
    return pb.PlaneKernel(**{**given_, **changes})


def paillier_planes(**changes):
    given_ = {
        "public_key": OWNER.public_key.to_bytes(),
        "header": HEAD,
        "height": HEIGHT,
        "width": WIDTH,
        "halo": 1,
    }
    return pb.PlaneSource(paillier=pb.PaillierPlanes(**{**given_, **changes}))


def header(planes=None, kernels=None):
    listed = [kernel()] if kernels is None else kernels
    return pb.TransformRequest(header=pb.TransformHeader(planes=planes or paillier_planes(), kernels=listed))


def part(data, sha256=None):
    sent = pb.PlaneTiles(block=data, sha256=digest(data) if sha256 is None else sha256)
    return pb.TransformRequest(tiles=sent)


def stream(rows=GOOD, **changes):
    return [header(**changes), *map(part, rows)]


def results(answers):
    """Decrypted results by kernel: [positions, slots]."""
    assert [one.WhichOneof("part") for one in answers][:: len(answers) - 1] == ["plan", "summary"]
    found = {}
    for answer in answers[1:-1]:
        opened = OWNER.decrypt(OWNER.read(answer.result.block)).reshape(-1, SLOTS)
        so_far = found.setdefault(answer.result.kernel, [])
        assert answer.result.first == sum(map(len, so_far))
        so_far.append(opened)
    return [np.concatenate(found[number]) for number in sorted(found)]


def applied(weights, offset=0):
    """A kernel of 3 x 3 by its definition."""
    inner = [
        sum(weight * VALUES[index // 3, column + index % 3] for index, weight in enumerate(weights))
        for column in range(WIDTH - 2)
    ]
    return np.array(inner) + offset


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    quick = {"stall_seconds": "1", "workers": "1", "threads": "1"}
    running = Untrusted(tmp_path_factory.mktemp("paillier"), quick).start()
    try:
        with Client(running.evaluator.address) as connected:
            connected.running = running
            yield connected
    finally:
        running.stop()


@pytest.fixture
def evaluator(client):
    """The service before a hostile call; afterwards the same processes must answer right."""
    before = [process.pid for process in client.running.workers()]
    assert before
    yield client
    (found,) = results(list(client.stub.Transform(iter(stream()), timeout=60)))
    np.testing.assert_array_equal(found, applied(kernel().weights))
    assert [process.pid for process in client.running.workers()] == before


def refused(evaluator, requests):
    """Status code and reason of a stream that must fail, with one short line."""
    code, reason, message = refusal(lambda: list(evaluator.stub.Transform(iter(requests), timeout=60)))
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    return code, reason


def test_many_kernels_of_any_rank_are_exact_and_offsets_are_added(evaluator):
    separable = [-1, 0, 1, -2, 0, 2, -1, 0, 1]
    kernels = [separable, [0, 0, 0, 0, -5, 0, 0, 0, 0], [1, 2, 3, -4, 0, 1, 0, 0, 2]]
    asked = [kernel(weights=one, offset=offset) for one, offset in zip(kernels, (0, -700, 255), strict=True)]
    found = results(list(evaluator.stub.Transform(iter(stream(kernels=asked)), timeout=60)))
    for one, given_, offset in zip(found, kernels, (0, -700, 255), strict=True):
        np.testing.assert_array_equal(one, applied(given_, offset))


SECRETS = {"an additive key": OWNER.to_secret().reveal_secret(), "a key file": b"BSKY" + bytes(100)}


@pytest.mark.parametrize("name", SECRETS)
def test_secret_keys_are_turned_away_whatever_surrounds_them(evaluator, name):
    secret = SECRETS[name]
    for requests in (
        stream(planes=paillier_planes(public_key=secret)),
        stream(planes=paillier_planes(header=secret)),
        stream([secret]),
        [header(), part(GOOD[0]), part(secret, bytes(32))],
    ):
        assert refused(evaluator, requests) == (INVALID, "SECRET_MATERIAL_REFUSED")


def public(numbers, scheme=PAILLIER):
    """A public key that nobody checked."""
    return write_numbers(PUBLIC_MAGIC, scheme, OWNER.public_key.key_id, numbers)


SMALL = AdditiveScheme.LIGHTPHE_PAILLIER
BAD_KEYS = {
    "none": b"",
    "junk": b"junk" * 100,
    "too large": b"BSAP" + bytes(1 << 20),
    "an even modulus": public((N + 1, H)),
    "a modulus of 9000 bits": public((2**9000 + 1, H)),
    "a modulus of 1024 bits": public((2**1023 + 1, 5)),
    "no unit": public((N, N)),
    "another scheme": key(SMALL).public_key.to_bytes(),
    "no encryption": key(AdditiveScheme.SCRAMBLE).public_key.to_bytes(),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_public_key_is_refused(evaluator, name):
    requests = stream(planes=paillier_planes(public_key=BAD_KEYS[name]))
    assert refused(evaluator, requests) == (INVALID, "INVALID_ARGUMENT")


def patched(data, offset, new):
    offset %= len(data)
    return data[:offset] + new + data[offset + len(new) :]


# Offset in the header, and what is written there: see the wire form in `blindsight.additive.block`.
BAD_HEADERS = {
    "a ring's": (0, b"BSCT"),
    "another version": (4, b"\x02"),
    "another scheme": (5, b"\x02"),
    "another size of numbers": (8, b"\x01"),
    "other ciphertexts": (12, b"\x01\x00\x00\x00"),
    "ciphertexts without end": (12, b"\xff\xff\xff\xff"),
    "another key": (16, bytes(16)),
    "two rows": (32, b"\x02"),
    "columns without end": (36, b"\xff\xff\xff\xff"),
    "more slots than a message has": (40, b"\xff\x1f"),
    "value bits without end": (42, b"\xff"),
    "grown": (48, b"\x02"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_bad_header_is_refused_when_it_is_announced_and_in_a_row(evaluator, name):
    offset, new = BAD_HEADERS[name]
    wanted = INVALID, "INVALID_CIPHERTEXT"
    assert refused(evaluator, stream(planes=paillier_planes(header=patched(HEAD, offset, new)))) == wanted
    assert refused(evaluator, stream([GOOD[0], patched(GOOD[1], offset, new), GOOD[2]])) == wanted


STRANGER = AdditiveKey.generate(PAILLIER, 2048)
SIZE = (len(GOOD[0]) - HEADER.size) // WIDTH


def number(place, value):
    """A row with another number at a place."""
    return patched(GOOD[0], HEADER.size + place * SIZE, value.to_bytes(SIZE, "little"))


BAD_ROWS = {
    "nothing": b"",
    "junk": b"junk" * 1000,
    "a header alone": HEAD,
    "a byte less": GOOD[0][:-1],
    "a byte more": GOOD[0] + b"x",
    "another owner's": row(VALUES[0], STRANGER),
    "other guard bits": row(VALUES[0], guard_bits=5),
    "a position less": row(VALUES[0, 1:]),
    "a number of 0": number(0, 0),
    "a number of n": number(3, N),
    "a number of n^2": number(1, N * N),
    "a number without end": number(2, 256**SIZE - 1),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_refused_wherever_it_stands(evaluator, name):
    for place in (0, 2):
        rows = [*GOOD[:place], BAD_ROWS[name], *GOOD[place + 1 :]]
        assert refused(evaluator, stream(rows)) == (INVALID, "INVALID_CIPHERTEXT")


def wide(width):
    """A header of rows of so many positions."""
    fields = list(ADDITIVE_HEADER.unpack(HEAD))
    fields[5], fields[8] = width, width * SLOTS
    return ADDITIVE_HEADER.pack(*fields)


BAD_SHAPES = {
    "no height": {"height": 0},
    "a halo that leaves nothing": {"halo": 2},
    "a halo without end": {"halo": 2**32 - 1},
    "rows without end": {"height": 2**32 - 1},
    "positions without end": {"width": 2**32 - 1},
}
BAD_KERNELS = {
    "none": [],
    "too many": [kernel()] * 33,
    "one that reaches over the halo": [
        kernel(height=1, width=7, anchor_row=0, anchor_column=3, weights=[1] * 7)
    ],
    "zeros": [kernel(weights=[0] * 9)],
    "one that overflows": [kernel(weights=[2] * 9)],
    "an offset that overflows": [kernel(offset=1 << 12)],
    "the largest weight": [kernel(weights=[0] * 8 + [2**63 - 1])],
}


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_a_bad_shape_is_refused(evaluator, name):
    code, reason = refused(evaluator, stream(planes=paillier_planes(**BAD_SHAPES[name])))
    assert (code, reason) in {(INVALID, "INVALID_ARGUMENT"), (EXHAUSTED, "RESOURCE_EXHAUSTED")}


@pytest.mark.parametrize("name", BAD_KERNELS)
def test_a_bad_kernel_is_refused(evaluator, name):
    assert refused(evaluator, stream(kernels=BAD_KERNELS[name])) == (INVALID, "INVALID_ARGUMENT")


def test_rows_and_windows_that_are_too_large_are_refused_before_they_come(evaluator):
    announced = [header(paillier_planes(width=3000, header=wide(3000)))]
    assert refused(evaluator, announced) == (EXHAUSTED, "RESOURCE_EXHAUSTED")
    tall = paillier_planes(width=2000, height=128, halo=63, header=wide(2000))
    assert refused(evaluator, [header(tall, [kernel()] * 2)]) == (EXHAUSTED, "RESOURCE_EXHAUSTED")
    many = paillier_planes(width=500, height=500, header=wide(500))
    assert refused(evaluator, [header(many, [kernel()] * 32)]) == (EXHAUSTED, "RESOURCE_EXHAUSTED")


BAD_STREAMS = {
    "a header alone": [header()],
    "two headers": [header(), *stream()],
    "an empty message": [header(), pb.TransformRequest(), *map(part, GOOD)],
    "a row less": stream(GOOD[:2]),
    "a row more": stream([*GOOD, GOOD[0]]),
    "another digest": [header(), part(GOOD[0], bytes(32))],
    "no digest": [header(), part(GOOD[0], b"")],
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_bad_stream_is_refused(evaluator, name):
    assert refused(evaluator, BAD_STREAMS[name]) == (INVALID, "INVALID_ARGUMENT")


def test_paillier_planes_are_not_subtracted(evaluator):
    asked = pb.DifferenceRequest(
        header=pb.DifferenceHeader(minuend=paillier_planes(), subtrahend=paillier_planes())
    )
    code, reason, _ = refusal(lambda: list(evaluator.stub.Difference(iter([asked]), timeout=60)))
    assert (code, reason) == (INVALID, "INVALID_ARGUMENT")


def test_callers_who_stop_sending_are_given_up_and_those_who_leave_leave_nothing_behind(evaluator):
    over = threading.Event()

    def silent():
        yield from stream(GOOD[:1])
        over.wait(30)

    try:
        assert refused(evaluator, silent()) == (INVALID, "INVALID_ARGUMENT")
    finally:
        over.set()
    for _ in range(40):  # more than may be there at once
        call = evaluator.stub.Transform(iter(stream()), timeout=60)
        next(call)
        call.cancel()


def test_work_without_end_is_given_up():
    pool = WorkerPool(1, tasks.COMPUTE)
    planes = PaillierPlanes(OWNER.public_key.to_bytes(), HEAD, HEIGHT, WIDTH, 1)

    async def rows():
        for data in GOOD:
            yield PlaneTiles(data, digest(data))

    async def run():
        operations = PaillierOperations(pool, Limits(stall_seconds=5, call_seconds=0))
        return [one async for one in operations.transform(planes, (PlaneKernel(1, 1, 0, 0, (2,)),), rows())]

    try:
        with pytest.raises(ResourceExhausted, match="takes over 0 s, too long"):
            asyncio.run(run())
    finally:
        pool.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offset=st.integers(0, len(GOOD[0]) - 1), new=st.binary(min_size=1, max_size=8), which=st.integers(0, 2)
)
def test_whatever_bytes_a_row_holds_it_is_computed_with_or_refused(evaluator, offset, new, which):
    rows = list(GOOD)
    rows[which] = patched(rows[which], offset, new)[: len(rows[which])]
    call = evaluator.stub.Transform(iter(stream(rows)), timeout=60)
    try:
        last = list(call)[-1].WhichOneof("part")
    except grpc.RpcError:
        last = call.code()
    assert last in ("summary", INVALID)
