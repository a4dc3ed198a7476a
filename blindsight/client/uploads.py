"""The request streams of ingests, and the bookkeeping of their answers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from itertools import chain
from typing import TYPE_CHECKING

from blindsight.client import calls
from blindsight.client.calls import Connection
from blindsight.client.models import IngestCallback, IngestItem, IngestProgress, IngestReport
from blindsight.client.sources import Source
from blindsight.errors import BlindsightError, DataLoss, InvalidArgument, ResourceExhausted
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime import transfer
from blindsight.wire.ingest import OUTCOMES, IngestCounts, IngestHeader, ItemResult
from blindsight.wire.items import FileHeader
from blindsight.wire.metadata import Metadata

if TYPE_CHECKING:
    from blindsight.client.vectors import Matrix

# The largest halo of any collection; the tiles of some allow less.
MAX_HALO = 31


class PhotoUpload:
    """One ingest of photos: its requests, and the outcomes.

    `requests` runs in gRPC's sending thread and `take` in the caller's.  A stream that was cut off is
    followed by another one, which begins with the unanswered photos; the first one's thread may still run.

    Attributes:
        repeatable: whether photos whose answers were lost may be sent again; they count as duplicates then.
    """

    repeatable = True

    def __init__(
        self,
        collection: str,
        sources: Iterable[Source],
        total: int | None,
        *,
        planes: bool = False,
        halo: int = 0,
        metadata: Metadata | None = None,
        upsert: bool = False,
        exif: bool = False,
    ) -> None:
        if not 0 <= halo <= MAX_HALO:
            raise InvalidArgument(f"halo of {halo} pixels, want 0 to {MAX_HALO}")
        self._header = IngestHeader(collection, planes, halo, metadata, upsert, exif)
        self._sources = enumerate(sources)
        self._pulling = threading.Lock()  # held during `next` of the caller's iterator, which may be slow
        self._lock = threading.Lock()
        self._again: deque[tuple[int, Source]] = deque()
        self._unanswered: dict[int, Source] = {}  # by position
        self._sent: list[int] = []  # position by index in the stream
        self._stream = 0
        self._counts = dict.fromkeys(OUTCOMES, 0)  # of this stream's answers
        self._all_taken = False
        self._refused: deque[tuple[int, IngestItem]] = deque()
        self._items: list[tuple[int, IngestItem]] = []
        self._started = time.perf_counter()
        self.progress = IngestProgress(total=total)

    def requests(self) -> Iterator[pb.IngestRequest]:
        """Returns the requests of a new stream: the header, then each photo.

        A photo that cannot be read is not sent, but reported as rejected.
        """
        with self._lock:
            self._stream += 1
            self._again = deque(sorted(self._unanswered.items()))
            self._sent = []
            self._counts = dict.fromkeys(OUTCOMES, 0)
            return self._requests(self._stream)

    def _requests(self, stream: int) -> Iterator[pb.IngestRequest]:
        yield pb.IngestRequest(header=self._header.to_message())
        while (taken := self._take_source(stream)) is not None:
            position, source = taken
            try:
                data, said = source.load(), source.said()
            except (InvalidArgument, ResourceExhausted) as error:
                item = IngestItem(source.label, "rejected", "", error.reason, error.message)
                self._refuse(stream, position, item)
                continue
            with self._lock:
                if stream != self._stream:
                    return
                self._sent.append(position)
            of_data = FileHeader.of(data, source.name)
            about = Metadata(said) if said else None
            file = replace(of_data, id=source.id, metadata=about, vectors=source.vectors)
            yield pb.IngestRequest(file=file.to_message())
            for chunk in transfer.chunks(data):
                yield pb.IngestRequest(chunk=chunk)

    def _take_source(self, stream: int) -> tuple[int, Source] | None:
        """Returns the next photo; None at the end, and for a stream that another one has replaced."""
        with self._pulling:
            with self._lock:
                if stream != self._stream:
                    return None
                if self._again:
                    return self._again.popleft()
            taken = next(self._sources, None)
            with self._lock:
                if taken is None:
                    self._all_taken = True
                    return None
                self._unanswered.update([taken])
                if stream == self._stream:
                    return taken
                self._again.append(taken)
                return None

    def _refuse(self, stream: int, position: int, item: IngestItem) -> None:
        with self._lock:
            if stream == self._stream:
                del self._unanswered[position]
                self._refused.append((position, item))

    def take(self, response: pb.IngestResponse) -> bool:
        """Records one answer; returns true for the last.

        Raises:
            DataLoss: if it is for a photo that was not sent, or is the last before all were answered.
        """
        part = response.WhichOneof("part")
        if part == "item":
            result = ItemResult.from_message(response.item)
            position, source = self._answered(result.index)
            self._counts[result.outcome] += 1
            self._note(position, IngestItem(source.label, *astuple(result)[1:]))
        while self._refused:
            self._note(*self._refused.popleft())
        if part == "summary":
            self._check(IngestCounts.from_message(response.summary))
        return part == "summary"

    def _check(self, summary: IngestCounts) -> None:
        with self._lock:
            missing = len(self._unanswered) + (not self._all_taken)
        if missing or summary != IngestCounts(*self._counts.values()):
            raise DataLoss("the keyholder ended the ingest before it had answered for every photo")

    def _answered(self, index: int) -> tuple[int, Source]:
        with self._lock:
            position = self._sent[index] if index < len(self._sent) else -1
            if position not in self._unanswered:
                raise DataLoss(f"the keyholder answered for photo {index}, which does not wait for an answer")
            return position, self._unanswered.pop(position)

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
        """Returns the result, with photos in the order they were given."""
        ordered = tuple(item for _, item in sorted(self._items, key=lambda pair: pair[0]))
        return _report(self.progress, ordered, self._started)


class VectorUpload:
    """One ingest of vectors; a stream that was cut off is followed by another one with the remaining rows.

    Attributes:
        repeatable: see `PhotoUpload`: rows without ids would be stored twice, and ids be taken, but for those
            whose items are replaced.
    """

    def __init__(
        self,
        collection: str,
        matrix: Matrix,
        ids: Sequence[str] | None,
        *,
        metadata: Metadata | None = None,
        each: Sequence[Metadata] | None = None,
        upsert: bool = False,
    ) -> None:
        self._header = IngestHeader(collection, metadata=metadata, upsert=upsert)
        self._matrix = matrix
        self._ids = ids
        self._each = each
        self.repeatable = upsert and ids is not None
        self._stored_before = 0  # rows stored before this stream
        self._started = time.perf_counter()
        self.progress = IngestProgress(total=len(matrix))

    def requests(self) -> Iterator[pb.IngestRequest]:
        """Returns the requests of a new stream: the header, then blocks of the rows not yet stored."""
        done = self._stored_before = self.progress.stored
        from blindsight.client import vectors

        header = pb.IngestRequest(header=self._header.to_message())
        ids = self._ids[done:] if self._ids is not None else None
        left = vectors.blocks(self._matrix[done:], ids, self._each[done:] if self._each is not None else None)
        return chain([header], (pb.IngestRequest(vectors=block.to_message()) for block in left))

    def take(self, response: pb.IngestResponse) -> bool:
        """Records one answer; returns true for the last.

        Raises:
            DataLoss: if it is the last before all rows were stored.
        """
        part = response.WhichOneof("part")
        if part in ("summary", "progress"):
            counts = IngestCounts.from_message(getattr(response, part))
            self.progress = replace(
                self.progress,
                stored=self._stored_before + counts.stored,
                duplicates=counts.duplicates,
                rejected=counts.rejected,
            )
        if part == "summary" and self.progress.done != len(self._matrix):
            raise DataLoss(f"the keyholder ended the ingest after {self.progress.done} vectors")
        return part == "summary"

    def report(self) -> IngestReport:
        """Returns the result."""
        return _report(self.progress, (), self._started)


def _report(progress: IngestProgress, items: tuple[IngestItem, ...], started: float) -> IngestReport:
    seconds = time.perf_counter() - started
    return IngestReport(progress.stored, progress.duplicates, progress.rejected, items, seconds)


def run(
    connection: Connection, upload: PhotoUpload | VectorUpload, progress: IngestCallback | None
) -> IngestReport:
    """Makes an upload, in as many streams as it takes while the keyholder is away now and then.

    Raises:
        BlindsightError: the error that the keyholder raised; `metadata` has the counts until then.
    """
    backoff = connection.backoff()

    def attempt() -> None:
        finished = False
        stream = calls.exchange(connection.keyholder.Ingest, upload.requests(), expects=pb.IngestResponse)
        for response in stream:
            backoff.reset()
            if finished:
                transfer.require_end(response)
            finished = upload.take(response)
            if progress is not None:
                progress(upload.progress)
        if not finished:
            raise calls.incomplete("ingest")

    try:
        connection.repeat(attempt, safe=upload.repeatable, backoff=backoff)
    except BlindsightError as error:
        counts = upload.progress
        error.metadata.update(
            stored=str(counts.stored), duplicates=str(counts.duplicates), rejected=str(counts.rejected)
        )
        raise
    return upload.report()
