"""Bulk ingest: adding photos to the keyholder's queue, and watching the import."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from blindsight.client import arguments, calls
from blindsight.client.calls import AwayCallback, Connection
from blindsight.client.models import IngestItem
from blindsight.client.sources import Source
from blindsight.errors import DataLoss, InvalidArgument, ResourceExhausted, Unavailable
from blindsight.rpc.keyholder.v1 import imports_pb2 as pb
from blindsight.runtime import transfer
from blindsight.runtime.backoff import Backoff
from blindsight.wire.imports import (
    FailedItem,
    ImportFile,
    ImportFiles,
    ImportHeader,
    ImportInfo,
    RemarkedItem,
)
from blindsight.wire.metadata import MOST_BYTES, Metadata, joined
from blindsight.wire.vectors import size_bytes

ImportCallback = Callable[[ImportInfo], None]

UNARY_SECONDS = 60.0
# How long a keyholder may be away before `submit` or `Import.watch` gives up.
AWAY_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 0.5
# Maximum number of small photos in a message, which is also sent once it has a mebibyte of them.
_TOGETHER = 64
_PAGE = 1000


@arguments.checked
class Import:
    """A handle on a bulk ingest by id; creating one makes no call.

    Use `Collection.ingest_bulk` or `Vault.get_import`.

    Attributes:
        import_id: identifies it in `blindsight jobs`.
        unreadable: files that `ingest_bulk` did not send because they could not be read, or are no photos.
        skipped: number of files of folders and globs that `ingest_bulk` left out because they are no photos.
    """

    def __init__(self, connection: Connection, import_id: str, unreadable: Sequence[IngestItem] = ()) -> None:
        self._connection = connection
        self._stub = connection.imports
        self.import_id = import_id
        self.unreadable = tuple(unreadable)
        self.skipped = 0

    def __repr__(self) -> str:
        return f"Import({self.import_id!r})"

    def info(self) -> ImportInfo:
        """Returns the import's state.

        Raises:
            NotFound: if there is no such import.
        """
        request = pb.GetImportRequest(import_id=self.import_id, page_size=1)
        ask = partial(self._stub.GetImport, request, timeout=UNARY_SECONDS)
        return ImportInfo.from_message(self._connection.repeat(ask).job)

    def failed(self) -> Iterator[FailedItem]:
        """Yields the failed items, in order.

        Raises:
            NotFound: if there is no such import.
        """
        return (FailedItem.from_message(one) for page in self._pages() for one in page.failed_items)

    def remarked(self) -> Iterator[RemarkedItem]:
        """Yields the items that are stored with a remark, in order.

        Raises:
            NotFound: if there is no such import.
        """
        return (RemarkedItem.from_message(one) for page in self._pages() for one in page.remarked_items)

    def _pages(self) -> Iterator[pb.GetImportResponse]:
        token = ""
        while True:
            request = pb.GetImportRequest(import_id=self.import_id, page_size=_PAGE, page_token=token)
            answer = self._connection.repeat(partial(self._stub.GetImport, request, timeout=UNARY_SECONDS))
            yield answer
            token = answer.next_page_token
            if not token:
                return

    def watch(self, *, away: AwayCallback | None = None) -> Iterator[ImportInfo]:
        """Yields the import's state whenever it changes, until its end; waits while the keyholder restarts.

        Args:
            away: called whenever the keyholder was away, before the next attempt; None: that of `connect`.

        Raises:
            NotFound: if there is no such import.
            Unavailable: if the keyholder stays away.
        """
        request = pb.WatchImportRequest(import_id=self.import_id)
        waiting = _Waiting(away or self._connection.away)
        while True:
            try:
                for info in self._watch(request):
                    waiting.reset()
                    yield info
                    if info.ended:
                        return
            except Unavailable as error:
                waiting.wait_after(error)

    def _watch(self, request: pb.WatchImportRequest) -> Iterator[ImportInfo]:
        call = self._stub.WatchImport(request)
        with self._connection.translated():
            info: ImportInfo | None = None
            for response in calls.answers(call, expects=pb.WatchImportResponse):
                info = ImportInfo.from_message(response.job)
                yield info
            if info is None or not info.ended:
                raise calls.incomplete("import")

    def wait(self, *, progress: ImportCallback | None = None, away: AwayCallback | None = None) -> ImportInfo:
        """Waits for the end of the import; returns its last state.

        Args:
            progress: called with every state.
            away: as for `watch`.

        Raises:
            NotFound: if there is no such import.
            Unavailable: if the keyholder stays away.
        """
        last: ImportInfo | None = None
        for last in self.watch(away=away):
            if progress is not None:
                progress(last)
        if last is None:
            raise calls.incomplete("import")
        return last

    def cancel(self) -> ImportInfo:
        """Cancels the import: drops items not yet stored, keeps stored ones; no effect once it has ended."""
        request = pb.CancelImportRequest(import_id=self.import_id)
        cancel = partial(self._stub.CancelImport, request, timeout=UNARY_SECONDS)
        return ImportInfo.from_message(self._connection.repeat(cancel).job)

    def retry(self) -> int:
        """Queues failed items again, except dropped ones; returns how many.

        Raises:
            Conflict: if the import was cancelled.
        """
        request = pb.RetryImportRequest(import_id=self.import_id)
        return self._connection.repeat(partial(self._stub.RetryImport, request), safe=False).retried

    def drop_failed(self) -> int:
        """Drops the sealed originals of failed items; returns how many were dropped."""
        request = pb.DropFailedRequest(import_id=self.import_id)
        return self._connection.repeat(partial(self._stub.DropFailed, request), safe=False).dropped


def listed(connection: Connection) -> list[ImportInfo]:
    """Returns all imports, the newest first."""
    found: list[ImportInfo] = []
    token = ""
    while True:
        request = pb.ListImportsRequest(page_size=_PAGE, page_token=token)
        answer = connection.repeat(partial(connection.imports.ListImports, request, timeout=UNARY_SECONDS))
        found += map(ImportInfo.from_message, answer.imports)
        token = answer.next_page_token
        if not token:
            return found


@dataclass(frozen=True, slots=True)
class Submission:
    """What is to be queued.

    Attributes:
        collection: its name.
        request_id: idempotency key.
        metadata: of all photos; None: nothing.
        exif: whether what cameras say of them is kept.
    """

    collection: str
    request_id: str
    sources: Iterable[Source]
    metadata: Metadata | None = None
    exif: bool = False


def submit(
    connection: Connection,
    submission: Submission,
    progress: ImportCallback | None,
    away: AwayCallback | None,
) -> Import:
    """Sends photos until all are queued; continues where it was interrupted if the keyholder goes away."""
    waiting = _Waiting(away or connection.away)
    with calls.request_id() as name:
        pass  # one id for all attempts
    while True:
        attempt = _Attempt(submission)
        try:
            with calls.request_id(name):
                for info in attempt.run(connection):
                    waiting.reset()
                    if progress is not None:
                        progress(info)
        except Unavailable as error:
            error.metadata["request_id"] = submission.request_id
            if not isinstance(submission.sources, Sequence):
                raise  # an iterator cannot be read from its beginning again
            waiting.wait_after(error)
        else:
            return Import(connection, attempt.import_id, attempt.unreadable)


class _Attempt:
    """One attempt to submit photos, as one stream.

    `_requests` runs in gRPC's sending thread, where it waits for the keyholder to say which photos it has.
    """

    def __init__(self, submission: Submission) -> None:
        self._header = ImportHeader(
            submission.collection, submission.request_id, says_end=True, exif=submission.exif
        )
        self._sources = submission.sources
        self._of_all = submission.metadata.values if submission.metadata is not None else {}
        self._answered = threading.Event()
        self._first_number: int | None = None
        self.import_id = ""
        self._receiving = True
        self.unreadable: list[IngestItem] = []

    def run(self, connection: Connection) -> Iterator[ImportInfo]:
        """Sends photos; yields the import's state whenever the keyholder has accepted some."""
        try:
            create, requests = connection.imports.CreateImport, self._requests()
            with connection.translated():
                for response in calls.exchange(create, requests, expects=pb.CreateImportResponse):
                    info = ImportInfo.from_message(response.job)
                    self._take(info)
                    yield info
        finally:
            self._answered.set()
        if self._receiving:
            raise calls.incomplete("import")

    def _take(self, job: ImportInfo) -> None:
        if job.request_id != self._header.request_id or job.import_id != (self.import_id or job.import_id):
            raise DataLoss("the keyholder answered with another import than was asked for")
        self.import_id = job.import_id
        self._receiving = job.state == "receiving"
        if not self._answered.is_set() and self._receiving:
            self._first_number = job.next_number
        self._answered.set()

    def _requests(self) -> Iterator[pb.CreateImportRequest]:
        yield pb.CreateImportRequest(header=self._header.to_message())
        self._answered.wait()
        if self._first_number is not None:  # else the keyholder has all of it, or does not answer
            yield from self._photos(self._first_number)
            yield _together([])  # marks the end: a stream that breaks off has no such message

    def _photos(self, first_number: int) -> Iterator[pb.CreateImportRequest]:
        # A photo of an iterator is sent alone: the next one may take long to arrive.
        most = _TOGETHER if isinstance(self._sources, Sequence) else 1
        small: list[ImportFile] = []
        for file, rest in self._files(first_number):
            if file.whole:
                small.append(file)
            if small and (not file.whole or len(small) == most or _size_bytes(small) >= transfer.CHUNK_BYTES):
                yield _together(small)
                small = []
            if not file.whole:
                yield pb.CreateImportRequest(file=file.to_message())
                for chunk in rest:
                    yield pb.CreateImportRequest(chunk=chunk)
        if small:
            yield _together(small)

    def _files(self, first_number: int) -> Iterator[tuple[ImportFile, Iterator[bytes]]]:
        """Yields files with their first bytes, and the remaining chunks of large ones."""
        for number, source in enumerate(self._sources):
            try:
                data, said = source.load(), self._said(source)
            except (InvalidArgument, ResourceExhausted) as error:
                self.unreadable.append(IngestItem(source.label, "rejected", "", error.reason, error.message))
                continue
            if number < first_number:
                continue
            chunks = transfer.chunks(data)
            file = ImportFile(
                number=number,
                name=source.name,
                size_bytes=len(data),
                sha256=transfer.digest(data),
                id=source.id,
                data=next(chunks, b""),  # another message would cost as much as these bytes
                metadata=said,
                vectors=source.vectors,
            )
            yield file, chunks

    def _said(self, source: Source) -> Metadata | None:
        own = source.said()
        return Metadata(joined(self._of_all, own)) if self._of_all or own else None


def _size_bytes(files: list[ImportFile]) -> int:
    said = sum(one.metadata is not None for one in files) * MOST_BYTES
    return said + sum(len(one.data) + size_bytes(one.vectors) for one in files)


def _together(files: list[ImportFile]) -> pb.CreateImportRequest:
    return pb.CreateImportRequest(files=ImportFiles(tuple(files)).to_message())


class _Waiting(Backoff):
    """Waits for a keyholder that is away, and calls `away` each time."""

    def __init__(self, away: AwayCallback | None) -> None:
        super().__init__(AWAY_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS)
        self._away = away

    def wait_after(self, error: Unavailable) -> None:
        """Waits for the next pause; raises the error if the keyholder has been away for too long."""
        pause = self.pause_in_time()
        if pause is None:
            raise error
        if self._away is not None:
            self._away(error)
        time.sleep(pause)
