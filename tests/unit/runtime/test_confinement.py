"""A confined process computes and answers, and cannot do anything else."""

import asyncio

import numpy as np
import pytest
from support.escapes import ESCAPES, WITHOUT_FILTER, compute, confine_by_limits
from support.worker_tasks import COMPUTE, Call

from blindsight.runtime.confinement import confine, has_filters
from blindsight.runtime.processpool import WorkerError, WorkerPool

ROOM = 1 << 30


async def outcome(pool, attempt, path):
    """What comes of an attempt: "" or what it raised."""
    try:
        await pool.run(Call.of(attempt, str(path)))
    except WorkerError as error:
        return str(error)
    return ""


def pool_of(start):
    # The first use of the library of linear algebra starts its threads.
    return WorkerPool(1, COMPUTE, start, prepare=Call.of(compute))


@pytest.fixture(scope="module")
def free():
    made = pool_of(None)
    yield made
    made.close()


@pytest.fixture(scope="module")
def confined():
    made = pool_of(Call.of(confine, ROOM))
    yield made
    made.close()


@pytest.fixture(scope="module")
def limited():
    made = pool_of(Call.of(confine_by_limits, ROOM))
    yield made
    made.close()


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "file"
    made.write_bytes(b"a secret")
    return made


@pytest.mark.parametrize("attempt", ESCAPES, ids=lambda attempt: attempt.__name__)
async def test_a_confined_process_reaches_nothing_that_another_does(free, confined, path, attempt):
    if not has_filters():
        pytest.skip("this kernel has no filters of system calls")
    refused = await outcome(confined, attempt, path)
    assert refused in {f"a {error} in a worker process" for error in ("PermissionError", "OSError")}, refused
    assert path.read_bytes() == b"a secret"
    if attempt.__name__ != "trace_its_parent":  # where even the free may not, it shows nothing
        assert await outcome(free, attempt, path) == ""


@pytest.mark.parametrize("attempt", WITHOUT_FILTER, ids=lambda attempt: attempt.__name__)
async def test_limits_alone_keep_a_process_from_opening_anything(limited, path, attempt):
    assert await outcome(limited, attempt, path) == "a OSError in a worker process"
    assert path.read_bytes() == b"a secret"


@pytest.mark.parametrize("how", ["confined", "limited"])
async def test_a_confined_process_computes_in_threads(request, how):
    pool = request.getfixturevalue(how)
    assert await pool.run(Call.of(compute)) == 3 * 700**3
    assert await pool.run(Call.of(bytes, 100 << 20)) == bytes(100 << 20)


@pytest.mark.parametrize("how", ["confined", "limited"])
async def test_a_confined_process_has_no_more_memory_than_it_is_given(request, how):
    pool = request.getfixturevalue(how)
    with pytest.raises(WorkerError, match="MemoryError"):
        await pool.run(Call.of(np.zeros, (ROOM, 2), np.uint8))
    assert await pool.run(Call.of(compute)) == 3 * 700**3


async def test_a_confined_process_that_died_is_replaced_by_a_confined_one(path):
    pool = pool_of(Call.of(confine, ROOM))
    for _ in range(2):
        assert await outcome(pool, ESCAPES[0], path) != ""
        with pytest.raises(Exception, match="died twice"):
            await pool.run(Call.of(__import__("os")._exit, 1))
    await asyncio.to_thread(pool.close)
