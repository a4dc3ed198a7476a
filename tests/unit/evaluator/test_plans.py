"""How a search is cut into chunks and messages: everything once, nothing too large."""

import asyncio
from pathlib import Path

import pytest
from support.evaluator import PARAMETERS

from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import BFV_8192, MAX_FIELDS
from blindsight.runtime.transfer import CHUNK_BYTES, MAX_MESSAGE_BYTES
from services.evaluator.galleries.manifest import SegmentFile, Snapshot
from services.evaluator.galleries.scorer import (
    CHUNK_RESULT_BYTES,
    CHUNK_SCAN_BYTES,
    Meter,
    Scorer,
    answer_offsets,
    plan_chunks,
    plan_pieces,
)
from services.evaluator.geometry import CollectionRecord
from services.evaluator.operations.cross_products import _chunks
from services.evaluator.operations.search import PASS_QUERIES
from services.evaluator.shared_memory import SharedRef
from services.evaluator.tasks import Blocks

# Of a segment of CKKS with stride 1, the smallest answer, and the largest, which is a message of its own.
ANSWER_BYTES = [2 * 4096 * 4, 2 * 16 * 4, MAX_FIELDS * 3 * 8192 * 4]


def record(fields=(128,), stride=1, parameters=PARAMETERS):
    layout = collection_layout(fields, parameters.ring_degree, stride)
    return CollectionRecord(bytes(16), parameters, b"a key's sixteen.", layout)


@pytest.mark.parametrize("answer_bytes", ANSWER_BYTES)
@pytest.mark.parametrize("queries", [1, 2, 3, 10, 11, 16, 40])
@pytest.mark.parametrize("rows", [1, 2, 9, 10, 11, 32, 300])
def test_every_answer_has_one_place_and_there_is_no_gap(rows, queries, answer_bytes):
    pieces = plan_pieces(rows, queries, answer_bytes)
    offsets = answer_offsets(pieces, answer_bytes)
    assert (len(offsets), {len(of_row) for of_row in offsets}) == (rows, {queries})
    places = sorted(place for of_row in offsets for place in of_row)
    assert places == list(range(0, rows * queries * answer_bytes, answer_bytes))
    assert pieces[-1].offset + pieces[-1].size_bytes == rows * queries * answer_bytes


@pytest.mark.parametrize("answer_bytes", ANSWER_BYTES)
@pytest.mark.parametrize("queries", [1, 3, 11, 16, 40])
def test_messages_hold_their_answers_in_order_and_fit_into_a_message(queries, answer_bytes):
    pieces = plan_pieces(25, queries, answer_bytes)
    offsets = answer_offsets(pieces, answer_bytes)
    for piece in pieces:
        assert piece.size_bytes == piece.rows * piece.queries * answer_bytes
        assert piece.size_bytes <= max(CHUNK_BYTES, answer_bytes) < MAX_MESSAGE_BYTES
        rows = range(piece.first_row, piece.first_row + piece.rows)
        queries_of = range(piece.first_query, piece.first_query + piece.queries)
        assert [offsets[row][query] for row in rows for query in queries_of] == list(
            range(piece.offset, piece.offset + piece.size_bytes, answer_bytes)
        )


@pytest.mark.parametrize(
    ("fields", "stride", "parameters", "wanted"),
    [
        ((128,), 1, PARAMETERS, 2 * 4096 * 4),
        ((128,), 4, PARAMETERS, 2 * 1024 * 4),
        ((4096,), 4096, PARAMETERS, 2 * 16 * 4),
        ((3, 5), 2, PARAMETERS, 2 * 2 * 2048 * 4),
        ((8,), 8, BFV_8192, 3 * 1024 * 4),
        ((1,) * MAX_FIELDS, 1, BFV_8192, MAX_FIELDS * 3 * 8192 * 4),
    ],
)
def test_an_answer_has_a_point_for_every_slot_modulo_every_prime(fields, stride, parameters, wanted):
    assert record(fields, stride, parameters).answer_bytes(Region.MAIN) == wanted


@pytest.mark.parametrize(("dimension", "stride"), [(128, 1), (2048, 1), (128, 128), (4096, 4096)])
@pytest.mark.parametrize("queries", [1, PASS_QUERIES])
def test_chunks_hold_every_segment_once_and_stay_small(dimension, stride, queries):
    files = tuple(
        SegmentFile(SegmentId(region, index), Path(f"{region}-{index}"), 1)
        for region in Region
        for index in range(300)
    )
    snapshot = Snapshot(record((dimension,), stride), 1, 0, files, bytes(32))
    chunks = plan_chunks(snapshot, queries)
    assert tuple(file for chunk in chunks for file in chunk) == files
    for chunk in chunks:
        region = chunk[0].key.region
        assert {file.key.region for file in chunk} == {region}
        assert len(chunk) * queries * snapshot.record.answer_bytes(region) <= CHUNK_RESULT_BYTES
        assert len(chunk) * snapshot.record.geometry(region).size_bytes <= CHUNK_SCAN_BYTES


@pytest.mark.parametrize("at_once", [1, 2, 7, 512])
@pytest.mark.parametrize(("rows", "queries"), [(1, 1), (1, 2048), (2048, 1), (23, 40), (40, 23)])
def test_chunks_of_a_comparison_hold_every_result_once_and_stay_small(rows, queries, at_once):
    seen = set()
    for chunk in _chunks(rows, queries, at_once):
        of_chunk = {(row, query) for row in range(*chunk.rows) for query in range(*chunk.queries)}
        assert 0 < len(of_chunk) <= at_once
        assert not of_chunk & seen
        seen |= of_chunk
    assert seen == {(row, query) for row in range(rows) for query in range(queries)}


class _Pool:
    """Computes nothing, for a second each, and several chunks at a time."""

    async def run(self, task):
        await asyncio.sleep(0)
        return 1.0


async def test_all_chunks_count_in_the_costs_of_a_search_also_those_that_run_at_the_same_time():
    files = tuple(SegmentFile(SegmentId(Region.MAIN, index), Path(str(index)), 1) for index in range(300))
    snapshot, meter = Snapshot(record((128,), 1), 1, 0, files, bytes(32)), Meter()
    queries = {Region.MAIN: Blocks(SharedRef("", 0, 0), snapshot.record.geometry(Region.MAIN), 0, 0, 1)}
    answers = [one async for one in Scorer(_Pool()).score(snapshot, queries, 0, 1, meter)]
    assert [index for answer in answers for index in answer.segments] == list(range(300))
    assert meter.kernel_seconds == len(plan_chunks(snapshot, 1)) > 2
    assert meter.scanned_bytes == 300 * snapshot.record.geometry(Region.MAIN).size_bytes
