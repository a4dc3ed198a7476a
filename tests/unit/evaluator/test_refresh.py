"""A refresh against logs that do not hold together: refused, and nothing is left on the disk."""

import hashlib

import numpy as np
import pytest
from support.evaluator import LITTLE_ROOM, PARAMETERS, StartWithLittleRoom
from support.polynomials import largest_tiles, random_tiles, tile_primes

from blindsight.ciphertext.header import BATCH_TRAILER_BYTES, BlockHeader, Form
from blindsight.ciphertext.residues import seeded_block
from blindsight.errors import DataLoss, ResourceExhausted, Unavailable
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.ring.tiles import Geometry, column_block
from blindsight.runtime.processpool import WorkerPool
from blindsight.wire.storage import BatchHeader, LogHeader
from services.evaluator import tasks
from services.evaluator.computing.checksums import checksum
from services.evaluator.galleries.cache import GalleryCache
from services.evaluator.galleries.refresh import Refresh
from services.evaluator.geometry import CollectionRecord
from services.evaluator.segments import map_segment

KEY_ID = b"a key's sixteen."
RECORD = CollectionRecord(
    b"sixteen bytes id", PARAMETERS, KEY_ID, collection_layout((8,), PARAMETERS.ring_degree, 4)
)
MAIN, TAIL = SegmentId(Region.MAIN, 0), SegmentId(Region.TAIL, 0)
LAST = PARAMETERS.primes[-1]


def block(columns, value=1, key_id=KEY_ID):
    """A batch whose residues are all the same."""
    return batch_of(np.full(Geometry(PARAMETERS, columns).shape, value, np.uint32), key_id)


def batch_of(tiles, key_id=KEY_ID):
    header = BlockHeader(PARAMETERS, key_id, Form.BATCH, tiles.shape[1])
    return header.pack() + tiles.tobytes() + bytes(range(BATCH_TRAILER_BYTES))


def with_last(value):
    """A batch whose very last residue is this one: in the last tile, under the last prime."""
    tiles = np.zeros(Geometry(PARAMETERS, 2).shape, np.uint32)
    tiles[-1, -1, -1] = value
    return batch_of(tiles)


def other_forms():
    """Blocks of what is no batch, as long as one."""
    tiles, size = random_tiles(PARAMETERS, 2, 1), len(block(2))
    residues = tiles.reshape(1, 1, 2, PARAMETERS.ring_degree, 2)[..., 0]
    return {
        "columns": column_block(PARAMETERS, KEY_ID, [tiles]).ljust(size, b"\0"),
        "seeded planes": seeded_block(PARAMETERS, KEY_ID, residues, np.zeros((1, 81), np.uint8))
        .to_bytes()
        .ljust(size, b"\0"),
        "a batch of one column": block(1).ljust(size, b"\0"),
    }


def batch(sequence, key=MAIN, first_slot=0, count=1, data=None, **changes):
    data = block(RECORD.layout.of(key.region).columns) if data is None else data
    given = {"block_size_bytes": len(data), "block_sha256": hashlib.sha256(data).digest(), **changes}
    return [BatchHeader(sequence, key, first_slot, count, **given), data]


def log(*batches, sequence=None, retired=()):
    flat = [event for one in batches for event in one]
    size = sum(event.block_size_bytes for event in flat if isinstance(event, BatchHeader))
    return [LogHeader(sequence or len(batches), 0, len(batches), size, tuple(retired)), *flat]


async def stream(events):
    for event in events:
        yield event


@pytest.fixture(scope="module")
def pool():
    made = WorkerPool(2, tasks.COMPUTE, prepare=tasks.Compile())
    yield made
    made.close()


@pytest.fixture
def cache(tmp_path):
    made = GalleryCache(tmp_path / "cache", 1 << 30, lambda paths: None)
    made.load()
    return made


@pytest.fixture
def steps():
    return []


@pytest.fixture
def refresh(cache, pool, steps):
    async def run(events, base=None):
        made = await Refresh(RECORD, base, cache, pool, steps.append).run(stream(events))
        cache.publish(made)
        return made

    return run


def files(cache):
    return sorted(cache.folder(RECORD.collection_id).glob("*.seg"))


async def test_batches_of_a_segment_are_summed_over_several_refreshes(refresh, cache, steps):
    first = await refresh(log(batch(1), batch(2, TAIL), batch(3, first_slot=1)))
    again = await refresh(log(batch(4, first_slot=2), sequence=4), first)
    assert [file.key for file in again.segments] == [MAIN, TAIL]
    _, summed = map_segment(again.segments[0].path, checksum)
    _, single = map_segment(again.segments[1].path, checksum)
    assert (summed == 3).all()
    assert (single == 1).all()
    assert [(step.batches_done, step.batches_total) for step in steps][-2:] == [(0, 1), (1, 1)]
    assert files(cache) == sorted(file.path for file in again.segments)


async def test_sums_are_modulo_the_primes_in_the_order_in_which_batches_come(refresh):
    given = [random_tiles(PARAMETERS, 2, seed) for seed in range(3)] + [largest_tiles(PARAMETERS, 2)] * 2
    batches = [batch(n + 1, MAIN, n, data=batch_of(tiles)) for n, tiles in enumerate(given)]
    made = await refresh(log(*batches))
    _, block = map_segment(made.segments[0].path, checksum)
    assert (block == np.sum(given, axis=0, dtype=np.uint64) % tile_primes(PARAMETERS)).all()


async def test_more_batches_than_wait_in_memory_are_built_in_several_steps(refresh, cache):
    count = 700  # of 64 KiB and of 32, interleaved with a second segment
    tails = [SegmentId(Region.TAIL, n // 512) for n in range(count)]
    pairs = [(batch(2 * n + 1, MAIN, n), batch(2 * n + 2, tails[n], n % 512)) for n in range(count)]
    made = await refresh(log(*[one for pair in pairs for one in pair]))
    values = [np.unique(map_segment(file.path, checksum)[1]).tolist() for file in made.segments]
    assert values == [[count], [512], [count - 512]]
    assert files(cache) == sorted(file.path for file in made.segments)


async def test_a_retired_segment_leaves_the_snapshot(refresh, cache):
    first = await refresh(log(batch(1), batch(2, TAIL)))
    other = SegmentId(Region.MAIN, 1)
    second = await refresh(log(batch(3, other), sequence=3, retired=[MAIN, TAIL]), first)
    assert [file.key for file in second.segments] == [other]
    assert files(cache) == [file.path for file in second.segments]


GOOD = block(2)
BAD_LOGS = {
    "nothing at all": [],
    "no header": batch(1),
    "bytes before a batch": [LogHeader(1, 0, 1, len(GOOD)), b"x"],
    "two headers": [LogHeader(1, 0, 1, len(GOOD)), LogHeader(1, 0, 1, len(GOOD))],
    "a batch is missing": [LogHeader(2, 0, 2, 2 * len(GOOD)), *batch(1)],
    "a batch too many": [LogHeader(2, 0, 1, len(GOOD)), *batch(1), *batch(2)],
    "a batch breaks off": [LogHeader(1, 0, 1, len(GOOD)), batch(1)[0], GOOD[:-1]],
    "the next batch comes early": [LogHeader(2, 0, 2, 2 * len(GOOD)), batch(1)[0], GOOD[:-1], *batch(2)],
    "more bytes than announced": [LogHeader(1, 0, 1, len(GOOD)), batch(1)[0], GOOD + b"x"],
    "other bytes than announced": log(batch(1, block_sha256=bytes(32))),
    "a digest of no bytes": log(batch(1, block_sha256=b"")),
    "a slot beyond the segment": log(batch(1, first_slot=1024)),
    "no slots": log(batch(1, count=0)),
    "a size of one column": log(batch(1, data=block(1))),
    "a size without end": log(batch(1, block_size_bytes=1 << 62)),
    "another key": log(batch(1, data=block(2, key_id=bytes(16)))),
    "residues over their primes": log(batch(1, data=block(2, value=LAST + 1))),
    "the last residue is its prime": log(batch(1, data=with_last(LAST))),
    "the last residue is the largest": log(batch(1, data=with_last(2**32 - 1))),
    "a bad batch behind good ones": log(batch(1), batch(2, first_slot=1, data=with_last(LAST))),
    "not a ciphertext": log(batch(1, data=bytes(len(GOOD)))),
    "a secret key": log(batch(1, data=b"BSKY".ljust(len(GOOD), b"\0"))),
    **{name: log(batch(1, data=data)) for name, data in other_forms().items()},
}


async def test_the_largest_residue_of_the_last_tile_is_taken(refresh):
    made = await refresh(log(batch(1, data=with_last(LAST - 1))))
    _, block = map_segment(made.segments[0].path, checksum)
    assert block[-1, -1, -1] == LAST - 1


@pytest.mark.parametrize("events", BAD_LOGS.values(), ids=BAD_LOGS)
async def test_a_log_that_does_not_hold_together_is_refused_and_leaves_nothing(refresh, cache, events):
    with pytest.raises(DataLoss):
        await refresh(events)
    assert files(cache) == []
    await refresh(log(batch(1)))
    assert len(files(cache)) == 1


async def test_a_log_that_went_back_is_refused(refresh):
    first = await refresh(log(batch(1), batch(2, TAIL)))
    with pytest.raises(DataLoss, match="ends at 1, want 2"):
        await refresh([LogHeader(1, 0, 0)], first)


async def test_a_damaged_base_is_noticed(refresh, cache):
    first = await refresh(log(batch(1)))
    path = first.segments[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DataLoss, match="damaged"):
        await refresh(log(batch(2, first_slot=1), sequence=2), first)
    assert files(cache) == [path]


async def test_a_stream_that_fails_passes_its_reason_on_and_leaves_nothing(cache, pool, steps):
    async def failing():
        for event in log(batch(1), batch(2, TAIL)):
            yield event
        raise Unavailable("storage is gone")

    with pytest.raises(Unavailable, match="storage is gone"):
        await Refresh(RECORD, None, cache, pool, steps.append).run(failing())
    assert files(cache) == []


async def test_a_full_disk_is_told_and_leaves_nothing(cache, steps):
    pool = WorkerPool(1, {**tasks.COMPUTE, **LITTLE_ROOM}, StartWithLittleRoom(50_000))
    try:
        with pytest.raises(ResourceExhausted, match="no room"):
            await Refresh(RECORD, None, cache, pool, steps.append).run(stream(log(batch(1))))
    finally:
        pool.close()
    assert list(cache.folder(RECORD.collection_id).iterdir()) == []
