"""How questions to storage are put together."""

import asyncio
from types import SimpleNamespace

import pytest

from blindsight.errors import DataLoss, Unavailable
from blindsight.trusted.ingest.lookups import Lookups

ONE, OTHER = (SimpleNamespace(record=SimpleNamespace(collection_id=name)) for name in (b"one", b"other"))


class Items:
    """Answer when they are told to; have the handle `there` in every collection."""

    def __init__(self):
        self.asked = []
        self.may_answer = asyncio.Event()
        self.error = None

    async def find_intact(self, collection, handles, most):
        assert most == len(handles)
        self.asked.append((collection, sorted(handles)))
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        found = {handle: collection for handle in handles if handle == b"there"}
        return found, {handle: "damaged" for handle in handles if handle == b"broken"}


@pytest.fixture
def items():
    return Items()


async def begun(*finds):
    """Tasks that have asked."""
    tasks = [asyncio.create_task(find) for find in finds]
    await asyncio.sleep(0.01)
    return tasks


async def test_what_is_asked_while_storage_answers_is_one_question(items):
    lookups = Lookups(items)
    tasks = await begun(lookups.find(ONE, b"a"))
    tasks += await begun(lookups.find(ONE, b"there"), lookups.find(ONE, b"b"), lookups.find(OTHER, b"there"))
    items.may_answer.set()
    found = await asyncio.gather(*tasks)
    assert items.asked == [(ONE, [b"a"]), (OTHER, [b"there"]), (ONE, [b"b", b"there"])]
    assert found == [None, ONE, None, OTHER]
    assert await lookups.find(ONE, b"there") is not None


async def test_an_error_is_told_to_all_who_asked_and_the_next_question_is_put(items):
    lookups = Lookups(items)
    items.error = Unavailable("away")
    tasks = await begun(lookups.find(ONE, b"a"), lookups.find(ONE, b"b"))
    items.may_answer.set()
    assert [str(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == ["away"] * 2
    items.error = None
    assert await lookups.find(ONE, b"there") is not None


async def test_a_damaged_record_is_told_to_who_asked_for_it_alone(items):
    lookups = Lookups(items)
    items.may_answer.set()
    tasks = await begun(lookups.find(ONE, b"there"), lookups.find(ONE, b"broken"), lookups.find(ONE, b"b"))
    there, broken, unknown = await asyncio.gather(*tasks, return_exceptions=True)
    assert (there, unknown) == (ONE, None)
    assert (type(broken), str(broken)) == (DataLoss, "damaged")


async def test_who_gives_up_keeps_nobody_from_an_answer(items):
    lookups = Lookups(items)
    gone, stays = await begun(lookups.find(ONE, b"there"), lookups.find(ONE, b"there"))
    gone.cancel()
    items.may_answer.set()
    assert await stays is not None
