from __future__ import annotations

import asyncio

import pytest

from blindsight.errors import Conflict, InvalidArgument
from services.storage.append_queue import AppendQueues

LONG = 30.0  # nobody waits so long in these tests
SHORT = 0.05
COLLECTION, OTHER = b"a collection's 16", b"another's sixteen"


class Appends:
    """Appends that last until they are told to end; knows the order in which they began."""

    def __init__(self, seconds: float = LONG) -> None:
        self.queues = AppendQueues(seconds)
        self.began: list[bytes] = []
        self._ends: dict[bytes, asyncio.Future[None]] = {}

    async def start(self, batch: bytes, collection: bytes = COLLECTION) -> asyncio.Task[None]:
        """An append that began, or that stands in the line."""
        self._ends[batch] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._append(batch, collection, self._ends[batch]))
        for _ in range(3):
            await asyncio.sleep(0)
        return task

    async def _append(self, batch: bytes, collection: bytes, end: asyncio.Future[None]) -> None:
        async with self.queues.of(collection, batch):
            self.began.append(batch)
            await end

    async def end(self, batch: bytes, error: Exception | None = None) -> None:
        """Lets an append end well, or with an error."""
        if error is None:
            self._ends[batch].set_result(None)
        else:
            self._ends[batch].set_exception(error)
        for _ in range(5):
            await asyncio.sleep(0)

    async def until_began(self, *batches: bytes) -> None:
        async with asyncio.timeout(10):
            while self.began != list(batches):
                await asyncio.sleep(0.005)


async def test_appends_to_one_collection_have_their_turn_one_after_the_other_as_they_came() -> None:
    appends = Appends()
    tasks = [await appends.start(batch) for batch in (b"1", b"2", b"3")]
    assert appends.began == [b"1"]
    await appends.end(b"1")
    assert appends.began == [b"1", b"2"]
    await appends.end(b"2")
    await appends.end(b"3")
    await asyncio.gather(*tasks)
    assert appends.began == [b"1", b"2", b"3"]


async def test_appends_to_another_collection_do_not_wait() -> None:
    appends = Appends()
    tasks = [await appends.start(b"1"), await appends.start(b"2", OTHER)]
    assert appends.began == [b"1", b"2"]
    for batch in (b"1", b"2"):
        await appends.end(batch)
    await asyncio.gather(*tasks)


async def test_an_append_that_was_refused_with_conflict_comes_again_before_those_who_wait() -> None:
    appends = Appends()
    first, second = await appends.start(b"1"), await appends.start(b"2")
    await appends.end(b"1", Conflict("too late"))
    assert appends.began == [b"1"]
    again = await appends.start(b"1")
    assert appends.began == [b"1", b"1"]
    await appends.end(b"1")
    assert appends.began == [b"1", b"1", b"2"]
    await appends.end(b"2")
    await asyncio.gather(again, second)
    with pytest.raises(Conflict):
        await first


async def test_a_turn_that_was_taken_is_kept_for_the_append_that_follows() -> None:
    appends = Appends()
    await appends.queues.take(COLLECTION, b"1")
    second = await appends.start(b"2")
    assert appends.began == []
    first = await appends.start(b"1")
    assert appends.began == [b"1"]
    await appends.end(b"1")
    assert appends.began == [b"1", b"2"]
    await appends.end(b"2")
    await asyncio.gather(first, second)


async def test_a_turn_that_was_taken_for_nothing_lapses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.storage.append_queue.KEPT_SECONDS", SHORT)
    appends = Appends()
    await appends.queues.take(COLLECTION, b"1")
    second = await appends.start(b"2")
    await appends.until_began(b"2")
    await appends.end(b"2")
    await second


async def test_an_append_that_failed_otherwise_gives_its_turn_to_the_next() -> None:
    appends = Appends()
    first, second = await appends.start(b"1"), await appends.start(b"2")
    await appends.end(b"1", InvalidArgument("no ciphertext"))
    assert appends.began == [b"1", b"2"]
    await appends.end(b"2")
    await second
    with pytest.raises(InvalidArgument):
        await first


async def test_a_turn_that_a_conflict_kept_lapses_when_nobody_comes_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.storage.append_queue.KEPT_SECONDS", SHORT)
    appends = Appends()
    first, second = await appends.start(b"1"), await appends.start(b"2")
    await appends.end(b"1", Conflict("too late"))
    await appends.until_began(b"1", b"2")
    await appends.end(b"2")
    await second
    with pytest.raises(Conflict):
        await first


async def test_a_silent_append_delays_others_no_longer_than_a_turn_lasts() -> None:
    appends = Appends(SHORT)
    silent, waiting = await appends.start(b"silent"), await appends.start(b"2")
    await appends.until_began(b"silent", b"2")
    assert not silent.done()
    for batch in (b"2", b"silent"):
        await appends.end(batch)
    await asyncio.gather(silent, waiting)


async def test_who_waits_behind_many_silent_appends_waits_no_longer_than_behind_one() -> None:
    appends = Appends(0.5)
    crowd = [bytes([number]) for number in range(100)]
    tasks = [await appends.start(batch) for batch in (*crowd, b"last")]
    async with asyncio.timeout(25):  # one turn after the other would be twice as long
        while b"last" not in appends.began:
            await asyncio.sleep(0.01)
    for batch in (*crowd, b"last"):
        await appends.end(batch)
    await asyncio.gather(*tasks)


async def test_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    appends = Appends()
    first, gone, third = [await appends.start(batch) for batch in (b"1", b"2", b"3")]
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await appends.end(b"1")
    assert appends.began == [b"1", b"3"]
    await appends.end(b"3")
    await asyncio.gather(first, third)


async def test_who_gives_up_just_when_the_turn_came_leaves_it_to_the_next() -> None:
    appends = Appends()
    async with appends.queues.of(COLLECTION, b"1"):
        gone, third = [await appends.start(batch) for batch in (b"2", b"3")]
    gone.cancel()  # the turn is its own by now, of which it has not heard yet
    await asyncio.gather(gone, return_exceptions=True)
    await appends.until_began(b"3")
    await appends.end(b"3")
    await third


async def test_nothing_is_kept_of_collections_that_nobody_appends_to() -> None:
    appends = Appends(SHORT)
    task = await appends.start(b"1")
    await appends.end(b"1")
    await task
    assert len(appends.queues._queues) == 0
