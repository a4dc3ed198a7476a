"""The metadata that items had until lately: searches under way may have scored them as they were."""

from __future__ import annotations

from blindsight.trusted.records import ItemMetadata

# Of one collection.  Metadata have some hundred bytes, and at most 16 KiB.
MOST_ITEMS, MOST_BYTES = 10_000, 16 << 20


class Replaced:
    """Metadata by handle and version, of which the oldest go when they are too many or too large.

    A search that finds an item whose metadata went leaves it out, rather than tell those of another version.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, bytes], tuple[ItemMetadata, int]] = {}
        self._bytes = 0

    def put(self, handle: bytes, version: bytes, metadata: ItemMetadata) -> None:
        """Keeps the metadata of an item that has others now."""
        self._remove((handle, version))
        size = len(metadata.to_json())
        self._kept[handle, version] = metadata, size
        self._bytes += size
        while len(self._kept) > MOST_ITEMS or self._bytes > MOST_BYTES:
            self._remove(next(iter(self._kept)))

    def get(self, handle: bytes, version: bytes) -> ItemMetadata | None:
        """Returns the metadata of a version of an item; None if they are not here."""
        metadata, _ = self._kept.get((handle, version), (None, 0))
        return metadata

    def _remove(self, key: tuple[bytes, bytes]) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self._bytes -= size
