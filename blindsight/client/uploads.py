"""The streams that carry photos and vectors to the keyholder, and their bookkeeping."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from blindsight import streams
from blindsight.client import wire
from blindsight.client.inputs import Source
from blindsight.client.models import IngestItem, IngestProgress, IngestReport
from blindsight.errors import BlindsightError, InvalidArgument, InvalidImage, ResourceExhausted
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb

if TYPE_CHECKING:
    from blindsight.client.vectors import Matrix

# The collection's tiles may allow less.
MAX_HALO = 31


class PhotoUpload:
    """One ingest of photos: what is sent, and what became of it.

    `requests` runs in gRPC's sending thread and `take` in the caller's.  They share a dict and a
    deque, of which one only adds and the other only removes.
    """

    def __init__(
        self,
        collection: str,
        sources: Iterable[Source],
        total: int | None,
        *,
        planes: bool = False,
        halo: int = 0,
    ) -> None:
        if not 0 <= halo <= MAX_HALO:
            raise InvalidArgument(f"halo of {halo} pixels, want 0 to {MAX_HALO}")
        self._header = pb.IngestHeader(collection=collection, planes=planes, plane_halo=halo)
        self._sources = sources
        self._sent: dict[int, tuple[int, str]] = {}  # index in the stream: position and label
        self._refused: deque[tuple[int, IngestItem]] = deque()
        self._items: list[tuple[int, IngestItem]] = []
        self._started = time.perf_counter()
        self.progress = IngestProgress(total=total)

    def requests(self) -> Iterator[pb.IngestRequest]:
        """The header, then each photo; one that cannot be read is refused here and not sent."""
        yield pb.IngestRequest(header=self._header)
        index = 0
        for position, source in enumerate(self._sources):
            try:
                data = source.load()
            except (InvalidImage, ResourceExhausted) as error:
                item = IngestItem(source.label, "rejected", "", error.reason, error.message)
                self._refused.append((position, item))
                continue
            self._sent[index] = (position, source.label)
            index += 1
            yield pb.IngestRequest(file=wire.file_header(source.name, data))
            for chunk in streams.chunks(data):
                yield pb.IngestRequest(chunk=chunk)

    def take(self, response: pb.IngestResponse) -> bool:
        """Notes one answer; true for the last.

        Raises:
            BlindsightError: when it is about a photo that was not sent.
        """
        if response.WhichOneof("part") == "item":
            index = response.item.index
            if index not in self._sent:
                raise BlindsightError(f"the keyholder answered for photo {index}, which was not sent")
            position, label = self._sent.pop(index)
            self._note(position, wire.item(response.item, label))
        while self._refused:
            self._note(*self._refused.popleft())
        return response.WhichOneof("part") == "summary"

    def _note(self, position: int, item: IngestItem) -> None:
        self._items.append((position, item))
        now = self.progress
        if item.outcome == "stored":
            self.progress = replace(now, stored=now.stored + 1)
        elif item.outcome == "duplicate":
            self.progress = replace(now, duplicates=now.duplicates + 1)
        else:
            self.progress = replace(now, rejected=now.rejected + 1)

    def report(self) -> IngestReport:
        """The end of it, photos in the order they were given."""
        ordered = tuple(item for _, item in sorted(self._items, key=lambda pair: pair[0]))
        return _report(self.progress, ordered, self._started)


class VectorUpload:
    """One ingest of vectors."""

    def __init__(self, collection: str, matrix: Matrix, ids: Sequence[str] | None) -> None:
        self._collection = collection
        self._matrix = matrix
        self._ids = ids
        self._started = time.perf_counter()
        self.progress = IngestProgress(total=len(matrix))

    def requests(self) -> Iterator[pb.IngestRequest]:
        """The header, then blocks of rows."""
        yield pb.IngestRequest(header=pb.IngestHeader(collection=self._collection))
        for block in vector_blocks(self._matrix, self._ids):
            yield pb.IngestRequest(vectors=block)

    def take(self, response: pb.IngestResponse) -> bool:
        """Notes one answer; true for the last."""
        part = response.WhichOneof("part")
        counts = response.summary if part == "summary" else response.progress
        if part in ("summary", "progress"):
            self.progress = replace(
                self.progress, stored=counts.stored, duplicates=counts.duplicates, rejected=counts.rejected
            )
        return part == "summary"

    def report(self) -> IngestReport:
        """The end of it."""
        return _report(self.progress, (), self._started)


def vector_blocks(matrix: Matrix, ids: Sequence[str] | None = None) -> Iterator[pb.VectorBlock]:
    """Rows of a checked matrix as messages."""
    from blindsight.client import vectors

    for values, named in vectors.blocks(matrix, ids):
        yield pb.VectorBlock(values=values, ids=named, dimension=matrix.shape[1])


def _report(progress: IngestProgress, items: tuple[IngestItem, ...], started: float) -> IngestReport:
    seconds = time.perf_counter() - started
    return IngestReport(progress.stored, progress.duplicates, progress.rejected, items, seconds)
