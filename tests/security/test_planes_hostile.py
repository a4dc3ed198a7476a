"""Hostile bytes where the evaluator computes with planes: one clear status each, and it serves on."""

import threading

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.evaluator import Client, Untrusted
from support.storage import refusal

from blindsight.ciphertext.header import HEADER, Form
from blindsight.ciphertext.residues import full_block, read_block
from blindsight.packing.scale_space import ScaleImage
from blindsight.packing.tiling import BLOCK_CIPHERTEXTS
from blindsight.parameters import BFV_4096, BFV_8192
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.runtime.transfer import digest
from blindsight.trusted import schemes
from blindsight.trusted.keyring import keys

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PARAMETERS = BFV_4096
OWNED = keys.create()
SECRET = OWNED.secret_key(PARAMETERS.name)
SCHEME = schemes.load(PARAMETERS, SECRET)
# Two blocks: a full one and one of a single tile.
COUNT = BLOCK_CIPHERTEXTS + 1
TILES = np.random.default_rng(4).integers(0, 256, (COUNT, PARAMETERS.ring_degree))


def block(tiles, key_id=OWNED.key_id, scheme=SCHEME):
    return scheme.encrypt_planes(tiles, key_id).to_bytes()


GOOD = block(TILES[:BLOCK_CIPHERTEXTS]), block(TILES[BLOCK_CIPHERTEXTS:])


def sent(**changes):
    given_ = {"parameter_set": PARAMETERS.name, "key_id": OWNED.key_id, "ciphertexts": COUNT, "halo": 2}
    return pb.PlaneSource(sent=pb.SentPlanes(**{**given_, **changes}))


def stored(collection_id=bytes(range(16)), handle=bytes(range(16))):
    return pb.PlaneSource(stored=pb.StoredPlanes(collection_id=collection_id, handle=handle))


def kernel(**changes):
    given_ = {"height": 1, "width": 3, "anchor_row": 0, "anchor_column": 1, "weights": [-1, 0, 1]}
    return pb.PlaneKernel(**{**given_, **changes})


def header(planes=None, kernels=None):
    listed = [kernel()] if kernels is None else kernels
    return pb.TransformRequest(header=pb.TransformHeader(planes=planes or sent(), kernels=listed))


def part(data, sha256=None):
    return pb.PlaneTiles(block=data, sha256=digest(data) if sha256 is None else sha256)


def tiles(*blocks):
    return [pb.TransformRequest(tiles=part(one)) for one in blocks]


def stream(*blocks, **changes):
    return [header(**changes), *tiles(*(blocks or GOOD))]


def pair(first=GOOD, second=GOOD, minuend=None, subtrahend=None):
    """A whole stream of Difference."""
    yield pb.DifferenceRequest(
        header=pb.DifferenceHeader(minuend=minuend or sent(), subtrahend=subtrahend or sent())
    )
    for one, other in zip(first, second, strict=True):
        yield pb.DifferenceRequest(minuend=part(one))
        yield pb.DifferenceRequest(subtrahend=part(other))


def results(answers):
    """Decrypted results by kernel; the plan comes first and the summary last."""
    parts = [one.WhichOneof("part") for one in answers]
    assert parts == ["plan", *["result"] * (len(parts) - 2), "summary"]
    found = {}
    for answer in answers[1:-1]:
        so_far = found.setdefault(answer.result.kernel, [])
        assert answer.result.first == sum(map(len, so_far))
        parsed = read_block(answer.result.block, PARAMETERS, OWNED.key_id)
        assert parsed.header.form is Form.FULL
        so_far.append(SCHEME.decrypt_planes(parsed))
    return [np.concatenate(found[index]) for index in sorted(found)]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    running = Untrusted(
        tmp_path_factory.mktemp("planes"), {"stall_seconds": "1", "workers": "1", "threads": "1"}
    )
    running.start()
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
    np.testing.assert_array_equal(found[:, 1:-1], TILES[:, 2:] - TILES[:, :-2])
    assert [process.pid for process in client.running.workers()] == before


def refused(call, requests):
    """Status code and reason of a stream that must fail, with one short line."""
    code, reason, message = refusal(lambda: list(call(iter(requests), timeout=60)))
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    return code, reason


def test_many_kernels_are_applied_in_turn_and_offsets_are_added(evaluator):
    kernels = [kernel(weights=[0, number, 0], offset=-number) for number in range(1, 33)]
    found = results(list(evaluator.stub.Transform(iter(stream(kernels=kernels)), timeout=60)))
    assert len(found) == 32
    for number, one in enumerate(found, 1):
        np.testing.assert_array_equal(one, number * (TILES - 1))


def test_a_difference_of_seeded_and_of_computed_tiles_is_exact(evaluator):
    reverse = block(TILES[::-1][:BLOCK_CIPHERTEXTS]), block(TILES[::-1][BLOCK_CIPHERTEXTS:])
    answers = list(evaluator.stub.Difference(pair(GOOD, reverse), timeout=60))
    np.testing.assert_array_equal(results(answers)[0], TILES - TILES[::-1])
    computed = [answer.result.block for answer in answers[1:-1]]
    again = list(evaluator.stub.Difference(pair(GOOD, computed), timeout=60))
    np.testing.assert_array_equal(results(again)[0], TILES[::-1])


SECRETS = {
    "a SEAL key": SECRET.reveal_secret(),
    "a key file": b"BSKY" + bytes(100),
    "an additive key": b"BSAS" + bytes(100),
}


@pytest.mark.parametrize("name", SECRETS)
def test_secret_keys_are_turned_away_whatever_surrounds_them(evaluator, name):
    secret = SECRETS[name]
    wanted = INVALID, "SECRET_MATERIAL_REFUSED"
    assert refused(evaluator.stub.Transform, stream(secret)) == wanted
    assert refused(evaluator.stub.Transform, stream(GOOD[0], secret)) == wanted
    bad_digest = [header(), pb.TransformRequest(tiles=part(secret, bytes(32)))]
    assert refused(evaluator.stub.Transform, bad_digest) == wanted
    for sides in ((GOOD, (secret, GOOD[1])), ((GOOD[0], secret), GOOD)):
        assert refused(evaluator.stub.Difference, pair(*sides)) == wanted


def patched(offset, new, data=GOOD[0]):
    offset %= len(data)
    return data[:offset] + new + data[offset + len(new) :]


STRANGER = block(TILES[:BLOCK_CIPHERTEXTS], key_id=bytes(16))
THREE = full_block(
    PARAMETERS, OWNED.key_id, np.zeros((BLOCK_CIPHERTEXTS, 3, 3, PARAMETERS.ring_degree), np.uint32)
).to_bytes()
# Offset in the block, and what is written there: see the wire form in `blindsight.ciphertext.header`.
BAD_BLOCKS = {
    "nothing": b"",
    "junk": b"junk" * 1000,
    "another magic": patched(0, b"XXXX"),
    "additive ciphertexts": patched(0, b"BSAC"),
    "another version": patched(4, b"\x02"),
    "another scheme": patched(5, b"\x01"),
    "another form": patched(6, b"\x03"),
    "another parameter set": patched(8, b"\x03\x00"),
    "no ciphertexts": patched(12, bytes(4)),
    "ciphertexts without end": patched(12, b"\xff\xff\xff\xff"),
    "another key": STRANGER,
    "three polynomials": THREE[:3_000_000],
    "a header alone": GOOD[0][: HEADER.size],
    "a byte less": GOOD[0][:-1],
    "a byte more": GOOD[0] + b"x",
    "a residue that is its prime": patched(HEADER.size, PARAMETERS.primes[0].to_bytes(4, "little")),
    "a residue without end": patched(HEADER.size + 4 * 4096, b"\xff\xff\xff\xff"),
    "a seed of another generator": patched(-64 - 1, b"\x07"),
    "the last block first": GOOD[1],
}


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_a_bad_block_is_refused_on_either_side(evaluator, name):
    bad = BAD_BLOCKS[name]
    wanted = INVALID, "INVALID_CIPHERTEXT"
    assert refused(evaluator.stub.Transform, stream(bad, GOOD[1])) == wanted
    assert refused(evaluator.stub.Difference, pair(GOOD, (bad, GOOD[1]))) == wanted
    assert refused(evaluator.stub.Difference, pair((bad, GOOD[1]), GOOD)) == wanted


BAD_KERNELS = {
    "none": [],
    "too many": [kernel()] * 33,
    "no weights": [kernel(weights=[])],
    "a weight too few": [kernel(weights=[1, 2])],
    "weights without end": [kernel(weights=[1] * 100_000)],
    "an empty one": [kernel(height=0)],
    "one as high as the world": [kernel(height=2**32 - 1)],
    "an anchor outside": [kernel(anchor_column=3)],
    "zeros": [kernel(weights=[0, 0, 0])],
    "the largest weight": [kernel(weights=[0, 2**63 - 1, 0])],
    "the largest offset": [kernel(offset=-(2**63))],
    "one that reaches over the halo": [kernel(width=7, anchor_column=3, weights=[1] * 7)],
}


@pytest.mark.parametrize("name", BAD_KERNELS)
def test_a_bad_kernel_is_refused(evaluator, name):
    requests = stream(kernels=BAD_KERNELS[name])
    assert refused(evaluator.stub.Transform, requests) == (INVALID, "INVALID_ARGUMENT")


def test_a_kernel_that_reaches_too_far_is_refused_with_both_numbers(evaluator):
    far = kernel(height=7, width=1, anchor_row=0, anchor_column=0, weights=[1] * 7)
    _, _, message = refusal(lambda: list(evaluator.stub.Transform(iter(stream(kernels=[far])), timeout=60)))
    assert message == "kernel that reaches 6 pixels, want at most 2, the planes' halo"


BAD_SOURCES = {
    "nowhere": pb.PlaneSource(),
    "an unknown set": sent(parameter_set="rot13"),
    "an additive set": sent(parameter_set="paillier-3072"),
    "a short key id": sent(key_id=b"short"),
    "a halo that leaves nothing": sent(halo=32),
    "a halo without end": sent(halo=2**32 - 1),
    "a short collection id": stored(b"short"),
    "a short handle": stored(handle=b"short"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_bad_source_is_refused(evaluator, name):
    bad, wanted = BAD_SOURCES[name], (INVALID, "INVALID_ARGUMENT")
    assert refused(evaluator.stub.Transform, stream(planes=bad)) == wanted
    assert refused(evaluator.stub.Difference, pair(minuend=bad)) == wanted
    assert refused(evaluator.stub.Difference, pair(subtrahend=bad)) == wanted


def test_paillier_planes_are_for_transform_alone_and_a_caller_is_told(evaluator):
    paillier_planes = pb.PlaneSource(paillier=pb.PaillierPlanes(height=3, width=3, halo=1))
    for requests, method in (
        (pair(minuend=paillier_planes), evaluator.stub.Difference),
        (pair(subtrahend=paillier_planes), evaluator.stub.Difference),
        (space(planes=paillier_planes), evaluator.stub.ScaleSpace),
    ):
        code, _, message = refusal(lambda method=method, sent=requests: list(method(sent, timeout=30)))
        assert code == INVALID
        assert message == "Paillier planes, which are for Transform alone, want sent or stored ones"


@pytest.mark.parametrize("count", [0, 12289, 2**32 - 1])
def test_too_many_tiles_are_refused_before_they_come(evaluator, count):
    large = [header(sent(ciphertexts=count))]
    assert refused(evaluator.stub.Transform, large) == (EXHAUSTED, "RESOURCE_EXHAUSTED")


def test_too_many_results_are_refused_before_they_are_computed(evaluator):
    large = [header(sent(ciphertexts=12288), [kernel()] * 32)]
    assert refused(evaluator.stub.Transform, large) == (EXHAUSTED, "RESOURCE_EXHAUSTED")


def test_stored_planes_that_are_not_there_are_not_found(evaluator):
    code, reason = refused(evaluator.stub.Transform, [header(stored())])
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


BAD_STREAMS = {
    "nothing": [],
    "no header": tiles(*GOOD),
    "a header alone": [header()],
    "two headers": [header(), header(), *tiles(*GOOD)],
    "an empty message": [header(), pb.TransformRequest(), *tiles(*GOOD)],
    "one block of two": stream(GOOD[0]),
    "a block more": stream(*GOOD, GOOD[1]),
    "another digest": [header(), pb.TransformRequest(tiles=part(GOOD[0], bytes(32)))],
    "no digest": [header(), pb.TransformRequest(tiles=part(GOOD[0], b""))],
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_bad_stream_is_refused(evaluator, name):
    assert refused(evaluator.stub.Transform, BAD_STREAMS[name]) == (INVALID, "INVALID_ARGUMENT")


def test_planes_that_do_not_fit_each_other_are_refused(evaluator):
    other = {
        "fewer tiles": (sent(ciphertexts=3), (INVALID, "INVALID_ARGUMENT")),
        "another halo": (sent(halo=3), (INVALID, "INVALID_ARGUMENT")),
        "another key": (sent(key_id=bytes(16)), (INVALID, "INVALID_CIPHERTEXT")),
        "another set": (sent(parameter_set=BFV_8192.name), (INVALID, "INVALID_CIPHERTEXT")),
    }
    for bad, wanted in other.values():
        assert refused(evaluator.stub.Difference, pair(subtrahend=bad)) == wanted
    out_of_turn = [next(pair()), *(pb.DifferenceRequest(minuend=part(one)) for one in GOOD)]
    assert refused(evaluator.stub.Difference, out_of_turn) == (INVALID, "INVALID_ARGUMENT")


def test_a_caller_who_stops_sending_is_given_up(evaluator):
    over = threading.Event()

    def silent():
        yield header()
        yield from tiles(GOOD[0])
        over.wait(30)

    try:
        assert refused(evaluator.stub.Transform, silent()) == (INVALID, "INVALID_ARGUMENT")
    finally:
        over.set()


def test_a_caller_who_leaves_in_the_middle_leaves_nothing_behind(evaluator):
    for _ in range(40):  # more than may be there at once
        call = evaluator.stub.Transform(iter(stream()), timeout=60)
        next(call)
        call.cancel()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offset=st.integers(0, len(GOOD[1]) - 1),
    new=st.binary(min_size=1, max_size=8),
    which=st.sampled_from([0, 1]),
)
def test_whatever_bytes_a_block_holds_it_is_computed_with_or_refused(evaluator, offset, new, which):
    blocks = list(GOOD)
    blocks[which] = patched(offset, new, GOOD[which])
    call = evaluator.stub.Transform(iter(stream(*blocks)), timeout=60)
    try:
        last = list(call)[-1].WhichOneof("part")
    except grpc.RpcError:
        last = call.code()
    assert last in ("summary", INVALID)


def space(*blocks, planes=None, phases=1, images=None):
    """A whole stream of ScaleSpace."""
    listed = [pb.ScaleSpaceImage(sigma=0.6, bits=10)] if images is None else images
    yield pb.ScaleSpaceRequest(
        header=pb.ScaleSpaceHeader(planes=planes or sent(), phases=phases, images=listed)
    )
    for one in blocks or GOOD:
        yield pb.ScaleSpaceRequest(tiles=part(one))


def test_a_scale_space_is_what_its_kernels_make_of_every_tile(evaluator):
    images = [ScaleImage(0.5, bits=12), ScaleImage(0.6, 0.5, bits=14)]
    listed = [pb.ScaleSpaceImage(sigma=one.sigma, less=one.less, bits=one.bits) for one in images]
    kernels = [one for image in images for one in image.plane_kernels(2)]
    as_kernels = [
        kernel(
            height=one.height,
            width=one.width,
            anchor_row=one.anchor_row,
            anchor_column=one.anchor_column,
            weights=one.weights,
        )
        for one in kernels
    ]
    got = list(evaluator.stub.ScaleSpace(space(phases=2, images=listed), timeout=30))
    wanted = list(evaluator.stub.Transform(iter(stream(kernels=as_kernels)), timeout=30))
    assert len(kernels) == 8
    assert [one.result for one in got] == [one.result for one in wanted]


@pytest.mark.parametrize(
    "changes",
    [
        {"phases": 0},
        {"phases": 3},
        {"images": []},
        {"images": [pb.ScaleSpaceImage(sigma=0.6)] * 33},
        {"images": [pb.ScaleSpaceImage(sigma=0.6)] * 9, "phases": 2},
        {"images": [pb.ScaleSpaceImage(sigma=-1)]},
        {"images": [pb.ScaleSpaceImage(sigma=float("nan"))]},
        {"images": [pb.ScaleSpaceImage(sigma=float("inf"))]},
        {"images": [pb.ScaleSpaceImage(sigma=1e-300)]},
        {"images": [pb.ScaleSpaceImage(sigma=1e9)]},
        {"images": [pb.ScaleSpaceImage(sigma=0.6, less=0.6)]},
        {"images": [pb.ScaleSpaceImage(sigma=0.6, less=-0.1)]},
        {"images": [pb.ScaleSpaceImage(sigma=0.6, bits=25)]},
        {"images": [pb.ScaleSpaceImage(sigma=0.6, less=0.59, bits=0)]},
        {"images": [pb.ScaleSpaceImage(sigma=3)]},
    ],
    ids=str,
)
def test_images_of_no_scale_space_are_refused(evaluator, changes):
    code, reason, message = refusal(lambda: evaluator.stub.ScaleSpace(space(**changes), timeout=30))
    assert (code, reason) == (INVALID, "INVALID_ARGUMENT")
    assert len(message.splitlines()) == 1
