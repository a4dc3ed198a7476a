"""Read-ahead of a stream of photos, in groups that arrived while the previous group was processed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress

from blindsight.trusted.ingest.photos import Photo

# Reading stops at these limits until a group is taken; a single photo may be larger.
GROUP_PHOTOS = 64
GROUP_BYTES = 8 << 20


async def groups(coming: AsyncIterator[Sequence[Photo]]) -> AsyncGenerator[list[Photo], None]:
    """Reads ahead, and yields all photos that have arrived, in order; close it to stop reading.

    Args:
        coming: the photos of one message at a time.

    Raises:
        BlindsightError: if the stream raises one, after the photos that came before.
    """
    ahead = _Ahead()
    reading = asyncio.create_task(ahead.read(coming))
    try:
        while group := await ahead.take():
            yield group
        await reading
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await reading


class _Ahead:
    """Photos that were read and not yet taken."""

    def __init__(self) -> None:
        self._photos: list[Photo] = []
        self._size_bytes = 0
        self._over = False
        self._changed = asyncio.Condition()

    async def read(self, coming: AsyncIterator[Sequence[Photo]]) -> None:
        try:
            async for photos in coming:
                async with self._changed:
                    await self._changed.wait_for(self._has_room)
                    self._photos += photos
                    self._size_bytes += sum(len(photo.data) for photo in photos)
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._over = True
                self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._photos) < GROUP_PHOTOS and self._size_bytes < GROUP_BYTES

    async def take(self) -> list[Photo]:
        """Returns all photos that have arrived, at least one; none at the end of the stream."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._photos or self._over)
            taken, self._photos, self._size_bytes = self._photos, [], 0
            self._changed.notify_all()
        return taken
