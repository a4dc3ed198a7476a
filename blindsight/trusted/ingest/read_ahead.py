"""Photos of a stream in groups: those that came while the group before them was worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress

from blindsight.trusted.ingest.photos import Photo

# No message is read beyond these as long as nobody takes a group; a single photo may be larger.
GROUP_PHOTOS = 64
GROUP_BYTES = 8 << 20


async def groups(coming: AsyncIterator[Sequence[Photo]]) -> AsyncGenerator[list[Photo], None]:
    """Reads ahead, and yields all that is there in its order; close it to stop reading.

    Args:
        coming: photos of a message at a time.

    Raises:
        BlindsightError: what the stream raised, after the photos before it.
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
    """What was read and not taken yet."""

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
        """All that is there, at least one; nothing at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._photos or self._over)
            taken, self._photos, self._size_bytes = self._photos, [], 0
            self._changed.notify_all()
        return taken
