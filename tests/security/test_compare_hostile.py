"""Hostile bytes at the evaluator's Compare and CompareAll: one clear status each, and it serves on."""

import struct

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.evaluator import PARAMETERS, TOLERANCE, Client, Owner, Untrusted, unit_rows
from support.storage import refusal
from tenseal import sealapi

from blindsight.ciphertext.header import HEADER, SECRET_MAGICS, SEED_BYTES, parse_header
from blindsight.ciphertext.residues import full_block, read_block
from blindsight.packing.columns import Layout
from blindsight.parameters import PARAMETER_SETS
from blindsight.ring.prng import expand
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.runtime.transfer import chunks, digest
from blindsight.trusted import schemes
from blindsight.trusted.keyring import keys
from blindsight.trusted.schemes import seal

INVALID = grpc.StatusCode.INVALID_ARGUMENT
OWNER = Owner()
ROW, FORM = unit_rows(2, 8)
PRIME = PARAMETERS.primes[0]
SIDES = ("gallery", "query")


def layout(stride):
    return Layout((8,), stride, PARAMETERS.ring_degree)


def blocks(stride=8, owner=OWNER):
    """A row and a query, as many ciphertexts as the stride leaves columns."""
    gallery = owner.gallery(layout(stride).pack(ROW[None])).to_bytes()
    return gallery, owner._secret.encrypt_query(layout(stride).pack_query(FORM), owner.key_id).to_bytes()


GOOD = dict(zip(SIDES, blocks(), strict=True))


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory):
    running = Untrusted(tmp_path_factory.mktemp("compare"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(untrusted):
    with Client(untrusted.evaluator.address) as connected:
        yield connected


def product(client, gallery, query, stride=8):
    answer = client.stub.Compare(pb.CompareRequest(gallery=gallery, query=query), timeout=30)
    assert answer.kernel_seconds > 0
    parsed = read_block(answer.block, PARAMETERS, OWNER.key_id)
    assert (parsed.header.count, parsed.header.polynomials) == (1, 3)
    return layout(stride).scores(OWNER.decrypt(parsed.residues))[0, 0]


@pytest.fixture
def evaluator(client, untrusted):
    """The service before a hostile call; afterwards the same processes must answer right."""
    before = [process.pid for process in untrusted.workers()]
    assert before
    yield client
    assert client.serving()
    assert product(client, **GOOD) == pytest.approx(ROW @ FORM, abs=TOLERANCE)
    assert [process.pid for process in untrusted.workers()] == before


def refused(evaluator, **given):
    request = pb.CompareRequest(**{**GOOD, **given})
    code, reason, message = refusal(lambda: evaluator.stub.Compare(request, timeout=30))
    assert len(message.splitlines()) == 1
    return code, reason


def patched(block, offset, data):
    offset %= len(block)
    return block[:offset] + data + block[offset + len(data) :]


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_a_pair_of_one_to_eight_columns_is_compared(evaluator, stride):
    gallery, query = blocks(stride)
    assert parse_header(gallery).count == max(1, 8 // stride)
    assert product(evaluator, gallery, query, stride) == pytest.approx(ROW @ FORM, abs=TOLERANCE)


def test_full_blocks_are_taken_and_products_are_not(evaluator):
    full, products = {}, {}
    for side, block in GOOD.items():
        seeded = read_block(block, PARAMETERS, OWNER.key_id)
        both = np.stack([seeded.residues[:, 0], expand(seeded.seeds, PARAMETERS)], axis=1)
        full[side] = full_block(PARAMETERS, OWNER.key_id, both).to_bytes()
        three = np.concatenate([both, both[:, :1]], axis=1)
        products[side] = full_block(PARAMETERS, OWNER.key_id, three).to_bytes()
    assert product(evaluator, **full) == pytest.approx(ROW @ FORM, abs=TOLERANCE)
    for side in SIDES:
        assert refused(evaluator, **{side: products[side]}) == (INVALID, "INVALID_CIPHERTEXT")


# Offset in the block, and what is written there: see the wire form in `blindsight.ciphertext.header`.
BAD_BLOCKS = {
    "magic": (0, b"XXXX"),
    "version": (4, b"\x02"),
    "scheme": (5, b"\x07"),
    "form": (6, b"\x03"),
    "full instead of seeded": (6, b"\x02"),
    "three polynomials": (7, b"\x03"),
    "parameter set": (8, b"\x63\x00"),
    "another known parameter set": (5, b"\x02\x01\x02\x02\x00"),
    "reserved": (10, b"\x01"),
    "no ciphertexts": (12, bytes(4)),
    "a ciphertext more": (12, struct.pack("<I", 2)),
    "ciphertexts without end": (12, b"\xff\xff\xff\xff"),
    "another key": (16, bytes(16)),
    "first residue is its prime": (HEADER.size, struct.pack("<I", PRIME)),
    "last residue is the largest": (-SEED_BYTES - 4, b"\xff\xff\xff\xff"),
    "seed of another generator": (-SEED_BYTES + 16, b"\x02"),
    "seed of another size": (-SEED_BYTES + 8, b"\xff"),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_a_bad_block_is_refused(evaluator, name, side):
    bad = patched(GOOD[side], *BAD_BLOCKS[name])
    assert refused(evaluator, **{side: bad}) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 1000, -1])
def test_a_truncated_block_is_refused(evaluator, size, side):
    assert refused(evaluator, **{side: GOOD[side][:size]}) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
def test_a_longer_block_is_refused(evaluator, side):
    assert refused(evaluator, **{side: GOOD[side] + b"x"}) == (INVALID, "INVALID_CIPHERTEXT")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_bytes_and_random_damage_of_the_header_are_refused(evaluator, data):
    side = data.draw(st.sampled_from(SIDES))
    junk = data.draw(st.binary(max_size=2000))
    place = data.draw(st.integers(0, HEADER.size - 1))
    flipped = patched(GOOD[side], place, bytes([GOOD[side][place] ^ data.draw(st.integers(1, 255))]))
    for block in (junk, GOOD[side][: HEADER.size] + junk, flipped):
        reason = "SECRET_MATERIAL_REFUSED" if block.startswith(SECRET_MAGICS) else "INVALID_CIPHERTEXT"
        assert refused(evaluator, **{side: block}) == (INVALID, reason)


@pytest.mark.parametrize("fields", [[1], [2, 1], [0, 2], [1, 1, 1]], ids=str)
def test_fields_that_are_not_the_ciphertexts_are_refused(evaluator, fields):
    gallery, query = blocks(4)
    assert refused(evaluator, gallery=gallery, query=query, fields=fields) == (INVALID, "INVALID_CIPHERTEXT")


def test_blocks_of_different_counts_and_of_too_many_columns_are_refused(evaluator):
    gallery, _ = blocks(4)
    assert refused(evaluator, gallery=gallery) == (INVALID, "INVALID_CIPHERTEXT")
    wide = Layout((17,), 1, PARAMETERS.ring_degree)
    columns = OWNER.gallery(wide.pack(np.ones((1, 17)))).to_bytes()
    assert refused(evaluator, gallery=columns, query=columns) == (INVALID, "INVALID_CIPHERTEXT")


def test_blocks_of_another_owner_or_parameter_set_are_refused(evaluator):
    stranger = dict(zip(SIDES, blocks(owner=Owner(1)), strict=True))
    made = keys.create()
    for parameters in PARAMETER_SETS.values():
        secret = schemes.load(parameters, made.secret_key(parameters.name))
        wide = Layout((8,), 8, parameters.ring_degree)
        other = secret.encrypt_gallery(wide.pack(ROW[None]), OWNER.key_id).to_bytes()
        for side in SIDES:
            assert refused(evaluator, **{side: stranger[side]}) == (INVALID, "INVALID_CIPHERTEXT")
            if parameters != PARAMETERS:
                assert refused(evaluator, **{side: other}) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
def test_serialised_secret_keys_are_called_by_their_name(evaluator, tmp_path, side):
    path = tmp_path / "secret"
    sealapi.KeyGenerator(seal.context(PARAMETERS)).secret_key().save(str(path))
    for secret in (path.read_bytes(), b"BSKY" + bytes(500)):
        assert refused(evaluator, **{side: secret}) == (INVALID, "SECRET_MATERIAL_REFUSED")


def test_a_message_over_the_limit_is_refused(evaluator):
    with pytest.raises(grpc.RpcError) as caught:
        evaluator.stub.Compare(pb.CompareRequest(gallery=bytes(5 << 20)), timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_refusals_and_logs_hold_no_bytes_of_what_came(evaluator, untrusted):
    canary = b"canary-of-the-test"
    request = pb.CompareRequest(gallery=patched(GOOD["gallery"], 0, canary), query=GOOD["query"])
    _, _, message = refusal(lambda: evaluator.stub.Compare(request, timeout=30))
    log = (untrusted.folder / "evaluator.log").read_text()
    for shown in (message, log):
        assert canary.decode() not in shown
        assert canary.hex() not in shown
    assert "Traceback" not in log


def announced(block):
    return pb.AnnouncedBlock(size_bytes=len(block), sha256=digest(block))


def all_with_all(sides, **header):
    """The messages of a call."""
    gallery, query = (sides[side] for side in SIDES)
    given = {"columns": 1, "gallery": announced(gallery), "queries": announced(query), **header}
    yield pb.CompareAllRequest(header=pb.CompareAllHeader(**given))
    for block in (gallery, query):
        for chunk in chunks(block):
            yield pb.CompareAllRequest(chunk=chunk)


def refused_all(evaluator, messages):
    code, reason, message = refusal(lambda: evaluator.stub.CompareAll(messages, timeout=30))
    assert len(message.splitlines()) == 1
    return code, reason


def test_all_rows_are_compared_with_all_queries(evaluator):
    rows, forms = unit_rows(23, 8, seed=4), unit_rows(2, 8, seed=5)
    single = layout(4)
    gallery = OWNER.gallery(np.concatenate([single.pack(row[None]) for row in rows])).to_bytes()
    packed = np.concatenate([single.pack_query(form) for form in forms])
    queries = OWNER._secret.encrypt_query(packed, OWNER.key_id).to_bytes()
    scores = np.zeros((2, 23))
    *results, last = evaluator.stub.CompareAll(
        all_with_all({"gallery": gallery, "query": queries}, columns=2), timeout=30
    )
    for answer in results:
        block = read_block(answer.result.block, PARAMETERS, OWNER.key_id)
        first = answer.result.first_row
        products = single.scores(OWNER.decrypt(block.residues))[:, 0]
        scores[answer.result.query, first : first + len(products)] = products
    assert scores == pytest.approx(forms @ rows.T, abs=TOLERANCE)
    assert last.summary.kernel_seconds > 0


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_a_bad_block_among_all_is_refused(evaluator, name, side):
    bad = {**GOOD, side: patched(GOOD[side], *BAD_BLOCKS[name])}
    assert refused_all(evaluator, all_with_all(bad)) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
def test_secret_keys_among_all_are_called_by_their_name(evaluator, side):
    bad = {**GOOD, side: b"BSKY" + bytes(500)}
    assert refused_all(evaluator, all_with_all(bad)) == (INVALID, "SECRET_MATERIAL_REFUSED")


@pytest.mark.parametrize(
    "header",
    [
        {"columns": 0},
        {"columns": 129},
        {"gallery": pb.AnnouncedBlock(size_bytes=100, sha256=bytes(31))},
        {"queries": pb.AnnouncedBlock(size_bytes=len(GOOD["query"]), sha256=bytes(32))},
        {"queries": pb.AnnouncedBlock(size_bytes=len(GOOD["query"]) + 1, sha256=bytes(32))},
        {"queries": pb.AnnouncedBlock(size_bytes=len(GOOD["query"]) - 1, sha256=bytes(32))},
    ],
    ids=["no column", "too many", "short digest", "another digest", "too little comes", "too much comes"],
)
def test_a_header_that_is_not_what_comes_is_refused(evaluator, header):
    assert refused_all(evaluator, all_with_all(GOOD, **header)) == (INVALID, "INVALID_ARGUMENT")


def test_columns_that_do_not_divide_the_ciphertexts_are_refused(evaluator):
    sides = dict(zip(SIDES, blocks(4), strict=True))
    assert refused_all(evaluator, all_with_all(sides, columns=3)) == (INVALID, "INVALID_CIPHERTEXT")


def test_streams_that_end_early_begin_otherwise_or_go_on_are_refused(evaluator):
    good = list(all_with_all(GOOD))
    for messages in ([], good[:1], good[:-1], good[1:], [*good, good[-1]], [good[0], *good]):
        assert refused_all(evaluator, iter(messages)) == (INVALID, "INVALID_ARGUMENT")


def test_announcements_over_the_limit_are_refused_before_anything_comes(evaluator):
    large = pb.AnnouncedBlock(size_bytes=1 << 40, sha256=bytes(32))
    code, reason = refused_all(evaluator, all_with_all(GOOD, gallery=large))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")
