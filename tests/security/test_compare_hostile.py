"""Hostile bytes at the evaluator's CompareAll: one clear status each, and it serves on."""

import os
import struct
import threading
from dataclasses import dataclass
from itertools import product

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.evaluator import PARAMETERS, Client, Owner, Untrusted, field_products, read_answers, unit_rows
from support.polynomials import SETS, random_residues
from support.services import wait_until
from support.storage import refusal
from tenseal import sealapi

from blindsight.ciphertext.header import (
    ADDITIVE_SECRET_MAGIC,
    HEADER,
    SECRET_MAGICS,
    SEED_BYTES,
    BlockHeader,
    Form,
)
from blindsight.ciphertext.residues import full_block, seeded_block
from blindsight.packing.columns import CollectionLayout, Layout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import BFV_4096, BFV_8192, MAX_FIELDS, ParameterSet
from blindsight.ring.tiles import Geometry, column_block
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.runtime.transfer import (
    MAX_COMPARED_CIPHERTEXTS,
    MAX_COMPARED_RESULTS,
    MAX_MESSAGE_BYTES,
    chunks,
    digest,
)
from blindsight.trusted.columns import gallery, queries
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.columns.numbers import scaled
from blindsight.trusted.schemes import seal
from services.evaluator.operations.cross_products import MAX_BLOCK_BYTES, MAX_COLUMNS, MAX_HELD_BYTES

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"
OWNER = Owner()
FIRST, LAST = PARAMETERS.primes[0], PARAMETERS.primes[-1]
LARGEST = 2**32 - 1
SIDES = ("gallery", "queries")


def layout(stride, fields=(8,), parameters=PARAMETERS):
    return Layout(fields, stride, parameters.ring_degree)


@dataclass(frozen=True)
class Sets:
    """Rows and queries of no collection, encrypted: what the evaluator gets, and what opens its products.

    Attributes:
        rows, forms: the vectors, [rows, values] and [queries, values]; each row is a segment of its own.
    """

    parameters: ParameterSet
    layout: Layout
    keys: ColumnKeys
    rows: np.ndarray
    forms: np.ndarray
    encrypted: list
    asked: list

    @classmethod
    def of(cls, single, rows, forms, parameters=PARAMETERS):
        keys = ColumnKeys.derive(parameters, os.urandom(32), os.urandom(32), single.columns)
        scales = parameters.gallery_scale, parameters.query_scale
        encrypted = [gallery.encrypt(scaled(single.pack(row[None]), scales[0]), keys) for row in rows]
        messages = [scaled(single.pack_query(form), scales[1]) for form in forms]
        asked = [queries.encrypt(one, keys, single.field_columns) for one in messages]
        return cls(parameters, single, keys, rows, forms, encrypted, asked)

    def blocks(self, key_id=OWNER.key_id):
        """The block of each side."""
        parts = [tiles for tiles, _ in self.encrypted], [query.tiles for query in self.asked]
        return {
            side: column_block(self.parameters, key_id, of_side)
            for side, of_side in zip(SIDES, parts, strict=True)
        }

    def header(self, **changes):
        """The fields of the header beside the announced blocks."""
        fields = [last - first for first, last in self.layout.field_columns]
        return {"fields": fields, "fold": self.layout.fold, **changes}

    def compare(self, client, **changes):
        """Has all compared; every product of every row and query must be right, and come once."""
        messages = all_with_all(self.blocks(), **self.header(**changes))
        *results, last = client.stub.CompareAll(messages, timeout=60)
        assert last.WhichOneof("part") == "summary"
        assert last.summary.check_seconds > 0
        assert last.summary.kernel_seconds > 0
        answers = {}
        for result in (one.result for one in results):
            shape = result.rows, result.queries, len(self.layout.fields)
            residues = read_answers(result.answers, shape, self.parameters)
            for i, j in np.ndindex(shape[:2]):
                place = result.first_row + i, result.first_query + j
                assert place not in answers
                answers[place] = residues[i, j]
        assert set(answers) == set(product(range(len(self.rows)), range(len(self.forms))))
        self._check(answers)
        return len(results)

    def _check(self, answers):
        scale = self.parameters.gallery_scale * self.parameters.query_scale
        scores = np.empty((len(self.forms), len(self.layout.fields), len(self.rows)))
        for (row, query), answer in answers.items():
            tiles, seed = self.encrypted[row]
            held = queries.held(tiles, self.keys, self.layout.field_columns)
            cover = queries.Cover(held, gallery.common_polynomial(seed, self.parameters))
            opened = queries.open_answer(answer, cover, self.asked[query]).astype(np.float64)
            scores[query, :, row] = self.layout.scores(opened / scale)[:, 0]
        wanted = field_products(self.rows, self.forms, self.layout.fields)
        bound = self.parameters.score_error_bound(1)
        np.testing.assert_allclose(scores, wanted, rtol=0, atol=bound)


SINGLE = Sets.of(layout(8), *unit_rows(2, 8)[:, None])
GOOD = SINGLE.blocks()


def announced(block):
    return pb.AnnouncedBlock(size_bytes=len(block), sha256=digest(block))


def all_with_all(sides, **header):
    """The messages of a call."""
    given = {**SINGLE.header(), **{side: announced(sides[side]) for side in SIDES}, **header}
    yield pb.CompareAllRequest(header=pb.CompareAllHeader(**given))
    for side in SIDES:
        for chunk in chunks(sides[side]):
            yield pb.CompareAllRequest(chunk=chunk)


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


@pytest.fixture
def evaluator(client, untrusted):
    """The service before a hostile call; afterwards the same processes must answer right."""
    before = [process.pid for process in untrusted.workers()]
    assert before
    yield client
    assert client.serving()
    SINGLE.compare(client)
    assert [process.pid for process in untrusted.workers()] == before


def refused(evaluator, messages):
    code, reason, message = refusal(lambda: evaluator.stub.CompareAll(messages, timeout=60))
    assert len(message.splitlines()) == 1
    return code, reason


def patched(block, offset, data):
    offset %= len(block)
    return block[:offset] + data + block[offset + len(data) :]


# --- what is right --------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_a_pair_of_one_to_eight_columns_is_compared(client, stride):
    single = layout(stride)
    assert single.columns == max(1, 8 // stride)
    Sets.of(single, *unit_rows(2, 8)[:, None]).compare(client)


@SETS
def test_all_rows_are_compared_with_all_queries_under_every_parameter_set(client, parameters):
    single = layout(4, parameters=parameters)
    Sets.of(single, unit_rows(23, 8, seed=4), unit_rows(5, 8, seed=5), parameters).compare(client)


def test_every_field_has_a_product_of_its_own(client):
    fields = (3, 1, 9)
    single = layout(2, fields)
    Sets.of(single, unit_rows(4, sum(fields), seed=4), unit_rows(3, sum(fields), seed=5)).compare(client)


@pytest.mark.parametrize("fold", [1, 2, 4, 16, 32, 64, 128, 256])
def test_products_are_folded_as_far_as_the_header_says(client, fold):
    sets = Sets.of(layout(256), *unit_rows(2, 8)[:, None])
    sets.compare(client, fold=fold)


def test_results_of_several_chunks_come_once_each(client):
    sets = Sets.of(layout(1, (1,)), np.linspace(-1, 1, 60)[:, None], np.linspace(1, -0.5, 20)[:, None])
    messages = sets.compare(client)
    assert messages >= 60 * 20 * 2 * 4096 * 4 // (1 << 20)


# --- what is refused ------------------------------------------------------------------------------

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
    "a column more": (12, struct.pack("<I", 2)),
    "columns without end": (12, b"\xff\xff\xff\xff"),
    "another key": (16, bytes(16)),
    "first residue is its prime": (HEADER.size, struct.pack("<I", FIRST)),
    "first residue is the largest": (HEADER.size, struct.pack("<I", LARGEST)),
    "last residue is its prime": (-4, struct.pack("<I", LAST)),
    "last residue is the largest": (-4, struct.pack("<I", LARGEST)),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_a_bad_block_is_refused(evaluator, name, side):
    bad = {**GOOD, side: patched(GOOD[side], *BAD_BLOCKS[name])}
    assert refused(evaluator, all_with_all(bad)) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
def test_a_bad_residue_in_the_last_of_many_rows_is_refused(evaluator, side):
    sets = Sets.of(layout(4), unit_rows(9, 8), unit_rows(9, 8, seed=2))
    good = sets.blocks()
    bad = {**good, side: patched(good[side], -4, struct.pack("<I", LAST))}
    assert refused(evaluator, all_with_all(bad, **sets.header())) == (INVALID, "INVALID_CIPHERTEXT")
    best = {**good, side: patched(good[side], -4, struct.pack("<I", LAST - 1))}
    *_, last = evaluator.stub.CompareAll(all_with_all(best, **sets.header()), timeout=30)
    assert last.WhichOneof("part") == "summary"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 1000, -1])
def test_a_truncated_block_is_refused(evaluator, size, side):
    bad = {**GOOD, side: GOOD[side][:size]}
    assert refused(evaluator, all_with_all(bad)) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
def test_a_longer_block_is_refused(evaluator, side):
    bad = {**GOOD, side: GOOD[side] + b"x"}
    assert refused(evaluator, all_with_all(bad)) == (INVALID, "INVALID_CIPHERTEXT")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_random_bytes_and_random_damage_of_the_header_are_refused(evaluator, data):
    side = data.draw(st.sampled_from(SIDES))
    junk = data.draw(st.binary(min_size=HEADER.size, max_size=2000))
    place = data.draw(st.integers(0, HEADER.size - 1))
    flipped = patched(GOOD[side], place, bytes([GOOD[side][place] ^ data.draw(st.integers(1, 255))]))
    for block in (junk, GOOD[side][: HEADER.size] + junk, flipped):
        reason = "SECRET_MATERIAL_REFUSED" if block.startswith(SECRET_MAGICS) else "INVALID_CIPHERTEXT"
        assert refused(evaluator, all_with_all({**GOOD, side: block})) == (INVALID, reason)


@pytest.mark.parametrize("side", SIDES)
def test_batches_and_planes_are_neither_rows_nor_queries(evaluator, side):
    single = layout(8)
    both = CollectionLayout(single, single)
    residues = random_residues(PARAMETERS, 2, 1)[None]
    blocks = {
        Form.BATCH: OWNER.batch(both, Placement(Region.MAIN, 0, 0, 1), unit_rows(1, 8)),
        Form.SEEDED: seeded_block(
            PARAMETERS, OWNER.key_id, residues[:, :1], np.zeros((1, SEED_BYTES), np.uint8)
        ).to_bytes(),
        Form.FULL: full_block(PARAMETERS, OWNER.key_id, residues).to_bytes(),
    }
    for form, block in blocks.items():
        messages = all_with_all({**GOOD, side: block})
        code, reason, message = refusal(lambda sent=messages: evaluator.stub.CompareAll(sent, timeout=60))
        assert (code, reason) == (INVALID, "INVALID_CIPHERTEXT")
        assert message == f"block of {form.name} ciphertexts, want COLUMNS"


@pytest.mark.parametrize("side", SIDES)
def test_a_block_of_another_owner_or_parameter_set_is_refused(evaluator, side):
    stranger = SINGLE.blocks(Owner(1).key_id)[side]
    assert refused(evaluator, all_with_all({**GOOD, side: stranger})) == (INVALID, "INVALID_CIPHERTEXT")
    for parameters in (BFV_4096, BFV_8192):
        single = layout(8, parameters=parameters)
        other = Sets.of(single, *unit_rows(2, 8)[:, None], parameters).blocks()[side]
        assert refused(evaluator, all_with_all({**GOOD, side: other})) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
def test_serialised_secret_keys_are_called_by_their_name(evaluator, tmp_path, side):
    path = tmp_path / "secret"
    sealapi.KeyGenerator(seal.context(PARAMETERS)).secret_key().save(str(path))
    for secret in (path.read_bytes(), b"BSKY" + bytes(500), ADDITIVE_SECRET_MAGIC + bytes(500)):
        wrong_digest = pb.AnnouncedBlock(size_bytes=len(secret), sha256=bytes(32))
        for header in ({}, {side: wrong_digest}):
            messages = all_with_all({**GOOD, side: secret}, **header)
            assert refused(evaluator, messages) == (INVALID, "SECRET_MATERIAL_REFUSED")


@pytest.mark.parametrize(
    "fields",
    [[], [0], [0, 1], [1, 0], [1] * (MAX_FIELDS + 1), [MAX_COLUMNS + 1], [MAX_COLUMNS, 1], [2**32 - 1] * 2],
    ids=str,
)
def test_fields_out_of_range_are_refused(evaluator, fields):
    assert refused(evaluator, all_with_all(GOOD, fields=fields)) == (INVALID, "INVALID_ARGUMENT")


@pytest.mark.parametrize("fold", [0, 3, 6, 255, 512, 4096, 8192, 2**31, 2**32 - 1])
def test_a_fold_out_of_range_is_refused(evaluator, fold):
    assert refused(evaluator, all_with_all(GOOD, fold=fold)) == (INVALID, "INVALID_ARGUMENT")


@pytest.mark.parametrize(("parameters", "most"), [(PARAMETERS, 256), (BFV_4096, 256), (BFV_8192, 512)])
def test_the_largest_fold_leaves_the_smallest_answer(evaluator, parameters, most):
    single = layout(512, parameters=parameters)
    sets = Sets.of(single, *unit_rows(2, 8)[:, None], parameters)
    assert single.fold == most
    sets.compare(evaluator)
    messages = all_with_all(sets.blocks(), **sets.header(fold=2 * most))
    assert refused(evaluator, messages) == (INVALID, "INVALID_ARGUMENT")


@pytest.mark.parametrize("fields", [[3], [1, 2], [5], [MAX_COLUMNS]], ids=str)
def test_columns_that_do_not_divide_those_of_a_block_are_refused(evaluator, fields):
    sides = Sets.of(layout(2), *unit_rows(2, 8)[:, None]).blocks()
    assert refused(evaluator, all_with_all(sides, fields=fields)) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
def test_columns_of_one_side_alone_that_do_not_divide_are_refused(evaluator, side):
    two = Sets.of(layout(4), *unit_rows(2, 8)[:, None])
    sides = {**two.blocks(), side: GOOD[side]}
    assert refused(evaluator, all_with_all(sides, **two.header())) == (INVALID, "INVALID_CIPHERTEXT")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": bytes(31)},
        {"sha256": b""},
        {"sha256": bytes(32)},
        {"size_bytes": 1},
        {"size_bytes": -1},
    ],
    ids=["a short digest", "no digest", "another digest", "too little comes", "too much comes"],
)
def test_a_header_that_is_not_what_comes_is_refused(evaluator, side, changes):
    block = announced(GOOD[side])
    given = {
        "size_bytes": block.size_bytes + changes.get("size_bytes", 0),
        "sha256": changes.get("sha256", block.sha256),
    }
    messages = all_with_all(GOOD, **{side: pb.AnnouncedBlock(**given)})
    assert refused(evaluator, messages) == (INVALID, "INVALID_ARGUMENT")


def test_streams_that_end_early_begin_otherwise_or_go_on_are_refused(evaluator):
    good = list(all_with_all(GOOD))
    nothing = pb.CompareAllRequest()
    empty = pb.CompareAllRequest(chunk=b"")
    for messages in (
        [],
        [nothing],
        good[:1],
        good[:-1],
        good[1:],
        [*good, good[-1]],
        [good[0], *good],
        [good[0], nothing, *good[1:]],
        [good[0], empty, *good[1:]],
    ):
        assert refused(evaluator, iter(messages)) == (INVALID, "INVALID_ARGUMENT")


def test_a_chunk_that_holds_the_end_of_one_block_and_the_beginning_of_the_other_is_refused(evaluator):
    head, *_ = all_with_all(GOOD)
    both = pb.CompareAllRequest(chunk=GOOD["gallery"] + GOOD["queries"])
    assert refused(evaluator, iter([head, both])) == (INVALID, "INVALID_ARGUMENT")


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_announcements_over_the_limit_are_refused_before_anything_comes(evaluator, side):
    large = pb.AnnouncedBlock(size_bytes=1 << 40, sha256=bytes(32))
    assert refused(evaluator, all_with_all(GOOD, **{side: large})) == EXHAUSTED


def nothing(columns):
    """A block of columns that are all 0, which needs no key."""
    header = BlockHeader(PARAMETERS, OWNER.key_id, Form.COLUMNS, columns)
    return header.pack() + bytes(columns * Geometry(PARAMETERS, 1).size_bytes)


@pytest.mark.parametrize("side", SIDES)
def test_too_many_columns_are_refused(evaluator, side):
    sides = {**GOOD, side: nothing(MAX_COMPARED_CIPHERTEXTS + 1)}
    assert refused(evaluator, all_with_all(sides)) == EXHAUSTED


def test_too_many_results_are_refused(evaluator):
    rows, asked = 64, MAX_COMPARED_RESULTS // 64
    most = {"gallery": nothing(rows), "queries": nothing(asked)}
    *_, last = evaluator.stub.CompareAll(all_with_all(most, fold=256), timeout=60)
    assert last.WhichOneof("part") == "summary"
    over = {**most, "queries": nothing(asked + 1)}
    assert refused(evaluator, all_with_all(over, fold=256)) == EXHAUSTED


def test_calls_that_announce_too_much_together_are_refused(evaluator):
    large = pb.AnnouncedBlock(size_bytes=MAX_BLOCK_BYTES, sha256=bytes(32))
    head, *_ = all_with_all(GOOD, gallery=large, queries=large)
    ended, waiting = threading.Event(), []

    def held():
        yield head
        ended.wait(60)

    def all_held():
        return refused(evaluator, iter([head])) == EXHAUSTED

    try:
        for _ in range(MAX_HELD_BYTES // (2 * MAX_BLOCK_BYTES)):
            assert not all_held()
            waiting.append(evaluator.stub.CompareAll(held(), timeout=60))
        wait_until(all_held, what="the refusal")
    finally:
        for call in waiting:
            call.cancel()
        ended.set()
    wait_until(lambda: not all_held(), what="room for other calls")


def test_a_message_over_the_limit_is_refused(evaluator):
    head, *_ = all_with_all(GOOD)
    huge = pb.CompareAllRequest(chunk=bytes(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(grpc.RpcError) as caught:
        list(evaluator.stub.CompareAll(iter([head, huge]), timeout=30))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_refusals_and_logs_hold_no_bytes_of_what_came(evaluator, untrusted):
    canary = b"canary-of-the-test"
    messages = all_with_all({**GOOD, "gallery": patched(GOOD["gallery"], 0, canary)})
    _, _, message = refusal(lambda: evaluator.stub.CompareAll(messages, timeout=30))
    log = (untrusted.folder / "evaluator.log").read_text()
    for shown in (message, log):
        assert canary.decode() not in shown
        assert canary.hex() not in shown
    assert "Traceback" not in log
