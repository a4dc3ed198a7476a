"""How photos of a stream are gathered while those before them are published."""

import asyncio
from contextlib import aclosing

import pytest

from blindsight.errors import InvalidArgument
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.ingest.read_ahead import GROUP_BYTES, GROUP_PHOTOS, groups


class Stream:
    """Photos of a size, and at the end an error if there is one."""

    def __init__(self, count, size=10, error=None):
        self.read = 0
        self._count, self._size, self._error = count, size, error

    async def photos(self):
        for number in range(self._count):
            self.read = number + 1
            yield [Photo(number, "name.jpg", bytes(self._size))]
        if self._error is not None:
            raise self._error


async def read_ahead():
    """Time for the reader to take all that it may."""
    for _ in range(1000):
        await asyncio.sleep(0)


async def test_all_photos_come_in_their_order():
    found = [photo.index async for group in groups(Stream(300).photos()) for photo in group]
    assert found == list(range(300))
    assert [group async for group in groups(Stream(0).photos())] == []


async def test_what_came_meanwhile_is_one_group_and_no_more_is_read():
    stream = Stream(1000)
    async with aclosing(groups(stream.photos())) as arriving:
        first = await anext(arriving)
        await read_ahead()
        assert stream.read <= len(first) + GROUP_PHOTOS + 1
        assert len(await anext(arriving)) == GROUP_PHOTOS


async def test_large_photos_are_not_read_far_ahead():
    stream = Stream(10, size=GROUP_BYTES)
    async with aclosing(groups(stream.photos())) as arriving:
        await anext(arriving)
        await read_ahead()
        assert stream.read <= 3
        assert len(await anext(arriving)) == 1


async def test_an_error_of_the_stream_comes_after_the_photos_before_it():
    found = []

    async def gather():
        async for group in groups(Stream(5, error=InvalidArgument("torn")).photos()):
            found.extend(photo.index for photo in group)

    with pytest.raises(InvalidArgument, match="torn"):
        await gather()
    assert found == [0, 1, 2, 3, 4]


async def test_who_stops_taking_stops_the_reading():
    stream = Stream(1000)
    async with aclosing(groups(stream.photos())) as arriving:
        await anext(arriving)
    before = stream.read
    await read_ahead()
    assert stream.read == before
