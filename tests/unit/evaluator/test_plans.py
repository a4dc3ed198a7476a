"""How a search is cut into chunks and messages: everything once, nothing too large."""

from pathlib import Path

import pytest
from support.evaluator import PARAMETERS

from blindsight.ciphertext.header import parse_header
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.runtime.transfer import MAX_MESSAGE_BYTES
from services.evaluator import tasks
from services.evaluator.galleries.manifest import SegmentFile, Snapshot
from services.evaluator.galleries.scorer import (
    CHUNK_RESULT_BYTES,
    CHUNK_SCAN_BYTES,
    plan_chunks,
    plan_pieces,
    score_offsets,
)
from services.evaluator.geometry import CollectionRecord
from services.evaluator.operations.search import PASS_BYTES, PASS_QUERIES, queries_at_once

SCORE_BYTES = 3 * 2 * 4096 * 4


def record(dimension=128, stride=1):
    layout = collection_layout((dimension,), PARAMETERS.ring_degree, stride)
    return CollectionRecord(bytes(16), PARAMETERS, b"a key's sixteen.", layout)


@pytest.mark.parametrize("queries", [1, 2, 3, 10, 11, 16])
@pytest.mark.parametrize("segments", [1, 2, 9, 10, 11, 32])
def test_every_score_has_one_place_behind_its_message_header(segments, queries):
    pieces = plan_pieces(record(), segments, queries)
    offsets = score_offsets(record(), pieces)
    assert (len(offsets), {len(row) for row in offsets}) == (segments, {queries})
    taken = {place: SCORE_BYTES for row in offsets for place in row}
    assert len(taken) == segments * queries
    taken.update({piece.offset: len(piece.header) for piece in pieces})
    end = 0
    for place in sorted(taken):
        assert place == end
        end += taken[place]
    assert end == pieces[-1].offset + pieces[-1].size_bytes


@pytest.mark.parametrize("queries", [1, 3, 11, 16])
def test_messages_are_blocks_that_fit_into_a_message(queries):
    for piece in plan_pieces(record(), 25, queries):
        header = parse_header(piece.header)
        assert header.count == piece.segments * piece.queries
        assert header.size_bytes == piece.size_bytes < MAX_MESSAGE_BYTES
        assert header.polynomials == 3


@pytest.mark.parametrize(("dimension", "stride"), [(128, 1), (2048, 1), (128, 128)])
@pytest.mark.parametrize("queries", [1, 16])
def test_chunks_hold_every_segment_once_and_stay_small(dimension, stride, queries):
    files = tuple(
        SegmentFile(SegmentId(region, index), Path(f"{region}-{index}"), 1)
        for region in Region
        for index in range(300)
    )
    snapshot = Snapshot(record(dimension, stride), 1, 0, files)
    chunks = plan_chunks(snapshot, queries)
    assert tuple(file for chunk in chunks for file in chunk) == files
    for chunk in chunks:
        region = chunk[0].key.region
        assert {file.key.region for file in chunk} == {region}
        assert len(chunk) * queries * SCORE_BYTES <= CHUNK_RESULT_BYTES
        assert len(chunk) * snapshot.record.geometry(region).size_bytes <= CHUNK_SCAN_BYTES


@pytest.mark.parametrize(
    ("dimension", "stride", "wanted"), [(128, 1, 16), (2048, 1, 1), (2048, 64, 16), (512, 1, 7)]
)
def test_expanded_queries_of_a_pass_are_bounded(dimension, stride, wanted):
    at_once = queries_at_once(record(dimension, stride))
    assert at_once == wanted <= PASS_QUERIES
    assert tasks.expanded_bytes(record(dimension, stride), at_once) <= PASS_BYTES
