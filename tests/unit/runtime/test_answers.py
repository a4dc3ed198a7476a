"""What workers answer is parsed as what their tasks return: one that was taken over can say nothing else."""

import asyncio
import os
import pickle
import struct

import msgspec
import numpy as np
import pytest
from msgspec.msgpack import Ext, encode
from support.worker_tasks import COMPUTE, Call, Say, message

from blindsight.errors import BlindsightError, InvalidImage, Unavailable
from blindsight.runtime.processpool import WorkerError, WorkerPool, answers

THREE = np.arange(3, dtype=np.uint8)
GOOD = answers.of_result((THREE, "text"), 0.5)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


def array(kind="|u1", shape=(3,), data=b"abc", code=1):
    return [kind, shape, Ext(code, data)]


def failure(reason="", text="ValueError", metadata=None, where=""):
    return encode({"reason": reason, "message": text, "metadata": metadata or {}, "where": where})


LIES = {
    "nothing": b"",
    "no message pack": b"\xc1",
    "half a message": GOOD[:-1],
    "more than a message": GOOD + b"\0",
    "another type": encode([0.5, [7, "text"]]),
    "no time": encode([float("nan"), [array(), "text"]]),
    "a negative time": encode([-1.0, [array(), "text"]]),
    "another array": encode([0.5, [array(kind="<f8", data=bytes(24)), "text"]]),
    "an array of objects": encode([0.5, [array(kind="|O", data=bytes(24)), "text"]]),
    "a large array of little": encode([0.5, [array(shape=(1 << 40,)), "text"]]),
    "a shape that overflows": encode([0.5, [array(shape=(0, (1 << 64) - 1)), "text"]]),
    "a negative shape": encode([0.5, [array(shape=(-1,)), "text"]]),
    "a shape of truth": encode([0.5, [array(shape=(True,), data=b"a"), "text"]]),
    "another shape": encode([0.5, [array(shape=(2,), data=b"ab"), "text"]]),
    "another extension": encode([0.5, [array(code=2), "text"]]),
    "a deep nest": b"\x91" * 5000,
    "an unknown error": failure("NO_SUCH_REASON"),
    "an error that steers the terminal": failure("INVALID_IMAGE", "\x1b[2J"),
    "an error with steering data": failure("INVALID_IMAGE", "text", {"a": "\x1b[2J"}),
    "an endless error": failure("INVALID_IMAGE", "text" * 1000),
    "an error with more": encode({**msgspec.msgpack.decode(failure()), "more": 1}),
}


@pytest.fixture(scope="module")
def pool():
    made = WorkerPool(1, COMPUTE, seconds=60)
    yield made
    made.close()


async def refused(pool, said):
    """What the caller is told; the worker is another one afterwards."""
    before, restarts = await pool.run(Call.of(os.getpid)), pool.restarts
    with pytest.raises(Unavailable, match="an answer that its task cannot have, and was ended") as caught:
        await pool.run(Say(said, stays=True))
    assert await pool.run(Call.of(os.getpid)) != before
    assert pool.restarts == restarts + 1
    told = str(caught.value)
    assert told.isprintable()
    assert len(told) < 500
    return told


async def test_what_a_task_returns_comes_through(pool):
    (values, text), seconds = await pool.timed(Say(message(GOOD)))
    assert (values.tolist(), text, seconds) == ([0, 1, 2], "text", 0.5)


@pytest.mark.parametrize("name", LIES)
async def test_what_a_task_cannot_return_is_refused_and_its_worker_replaced(pool, name):
    await refused(pool, message(LIES[name]))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_a_pickle_is_not_unpickled(pool, tmp_path, protocol):
    trap = pickle.dumps((Touch(tmp_path / "executed"), 0.5), protocol)
    await refused(pool, message(trap))
    assert not (tmp_path / "executed").exists()
    pickle.loads(trap)
    assert (tmp_path / "executed").exists()


async def test_more_bytes_than_a_task_can_have_are_not_even_received(pool):
    assert "want at most 10000" in await refused(pool, struct.pack("<Q", 1 << 62))


async def test_an_answer_to_no_question_is_not_taken_for_one(pool):
    before = await pool.run(Call.of(os.getpid))
    await pool.run(Say(message(GOOD) + message(answers.of_result(-1, 0.0))))
    assert await pool.run(Call.of(os.getpid)) not in {before, -1}


async def test_a_worker_that_does_not_answer_in_time_is_ended_even_if_it_says_a_little():
    pool = WorkerPool(1, COMPUTE, seconds=0.5)
    for said in (b"", message(GOOD)[:-1]):
        with pytest.raises(Unavailable, match="died twice"):
            await pool.run(Say(said, stays=True))
    assert await pool.run(Call.of(abs, -1)) == 1
    await asyncio.to_thread(pool.close)


async def test_errors_of_ours_come_as_they_are_and_others_by_name(pool):
    with pytest.raises(InvalidImage, match="too large") as caught:
        await pool.run(Say(message(answers.of_error(InvalidImage("too large", width=9)))))
    assert caught.value.metadata == {"width": "9"}
    await pool.run(Call.of(abs, -1))
    with pytest.raises(WorkerError, match="a KeyError in a worker process") as caught:
        await pool.run(Say(message(answers.of_error(KeyError("a key")))))
    assert "a key" in caught.value.__notes__[0]


@pytest.mark.parametrize("error", [*BlindsightError.__subclasses__(), BlindsightError, InvalidImage])
def test_every_error_of_ours_can_be_sent(error):
    task = Say(b"")
    with pytest.raises(error, match="words") as caught:
        answers.read(task, bytearray(answers.of_error(error("words"))))
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0, 3), np.uint8),
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[:, ::2].T,
        np.uint8(7) * THREE,
    ],
)
def test_arrays_come_as_they_are_and_can_be_written(values):
    class Any3(Say):
        def check(self, result):
            pass

    Any3.__orig_bases__ = Say.__orig_bases__
    ((found, _), _) = answers.read(Any3(b""), bytearray(answers.of_result((values, ""), 0.0)))
    np.testing.assert_array_equal(found, values)
    assert found.flags.writeable
