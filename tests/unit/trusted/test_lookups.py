"""How questions to storage are put together."""

import asyncio

import pytest

from blindsight.errors import Unavailable
from blindsight.trusted.ingest.lookups import Lookups
from blindsight.wire.storage import StoredItem

ONE, OTHER = b"a collection", b"another"


class Storage:
    """Answers when it is told to; has the handle `there` in every collection."""

    def __init__(self):
        self.asked = []
        self.may_answer = asyncio.Event()
        self.error = None

    async def get_items(self, collection_id, handles):
        self.asked.append((collection_id, sorted(handles)))
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return {handle: StoredItem(handle, collection_id, 0) for handle in handles if handle == b"there"}


@pytest.fixture
def storage():
    return Storage()


async def begun(*finds):
    """Tasks that have asked."""
    tasks = [asyncio.create_task(find) for find in finds]
    await asyncio.sleep(0.01)
    return tasks


async def test_what_is_asked_while_storage_answers_is_one_question(storage):
    lookups = Lookups(storage)
    tasks = await begun(lookups.find(ONE, b"a"))
    tasks += await begun(lookups.find(ONE, b"there"), lookups.find(ONE, b"b"), lookups.find(OTHER, b"there"))
    storage.may_answer.set()
    found = await asyncio.gather(*tasks)
    assert storage.asked == [(ONE, [b"a"]), (OTHER, [b"there"]), (ONE, [b"b", b"there"])]
    assert [item and item.sealed_metadata for item in found] == [None, ONE, None, OTHER]
    assert await lookups.find(ONE, b"there") is not None


async def test_an_error_is_told_to_all_who_asked_and_the_next_question_is_put(storage):
    lookups = Lookups(storage)
    storage.error = Unavailable("away")
    tasks = await begun(lookups.find(ONE, b"a"), lookups.find(ONE, b"b"))
    storage.may_answer.set()
    assert [str(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == ["away"] * 2
    storage.error = None
    assert await lookups.find(ONE, b"there") is not None


async def test_who_gives_up_keeps_nobody_from_an_answer(storage):
    lookups = Lookups(storage)
    gone, stays = await begun(lookups.find(ONE, b"there"), lookups.find(ONE, b"there"))
    gone.cancel()
    storage.may_answer.set()
    assert await stays is not None
