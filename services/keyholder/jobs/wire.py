"""Conversion of the messages of bulk ingest: streams of photos, workers' reports, descriptions of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from blindsight.errors import BlindsightError, InvalidArgument, NotFound
from blindsight.runtime.transfer import announced
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.ingest.records import Job, JobState
from blindsight.wire.imports import ImportFile, ImportInfo, ImportState
from blindsight.wire.times import of_unix
from blindsight.wire.workers import ItemReport, Trial

STATES: dict[JobState, ImportState] = {
    JobState.RECEIVING: "receiving",
    JobState.RUNNING: "running",
    JobState.FINISHED: "finished",
    JobState.CANCELLED: "cancelled",
}
DEFAULT_PAGE, MAX_PAGE = 100, 1000
MAX_REPORTED = 10_000
TRIAL_ID_BYTES = 16
# Numbers of items are less.
MAX_ITEMS = 1 << 32


def job_id(text: str) -> bytes:
    """Parses the id of a job.

    Raises:
        NotFound: if it is not hexadecimal, so that no job can have it.
    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise NotFound(f"no import {text!r}; `blindsight jobs list` has them") from None


def info(one: Job, collection: str) -> ImportInfo:
    """Returns the description of a job for clients."""
    return ImportInfo(
        import_id=one.job_id.hex(),
        collection=collection,
        request_id=one.request_id,
        state=STATES[one.state],
        created=of_unix(one.created_unix_seconds),
        received=one.received,
        next_number=one.next_number,
        done=one.done,
        duplicates=one.duplicates,
        failed=one.failed,
        waiting=one.waiting,
    )


def page_size(asked: int) -> int:
    """Returns the size of a page; 0 asks for the default.

    Raises:
        InvalidArgument: if more than `MAX_PAGE` are asked for.
    """
    if asked > MAX_PAGE:
        raise InvalidArgument(f"page size {asked}, want at most {MAX_PAGE}")
    return asked or DEFAULT_PAGE


def page_token(token: str) -> int | None:
    """Parses a page token; returns None for the first page.

    Raises:
        InvalidArgument: if the token is malformed.
    """
    if token and not (token.isascii() and token.isdigit() and len(token) < 19):
        raise InvalidArgument("the page token is not one that was answered")
    return int(token) if token else None


async def photos(
    requests: AsyncIterator[Any], *, says_end: bool, exif: bool = False
) -> AsyncIterator[list[Photo]]:
    """Yields the photos of an import's stream as they come, those of one message together.

    Args:
        says_end: whether a message of no files comes last; without it the client broke off the stream.
        exif: whether what their cameras say of them is kept.

    Raises:
        InvalidArgument: if a file is incomplete, numbers do not ascend or are too large, or the stream was
            broken off.
    """
    last, passed_over = -1, False
    async for request in requests:
        part = request.WhichOneof("part")
        if part == "chunk" and passed_over:
            continue
        if part not in ("file", "files"):
            raise InvalidArgument(f"import stream: {part or 'nothing'}, want a file")
        files = request.files.files if part == "files" else [request.file]
        if not files and says_end:
            return
        for before, file in zip((last, *(one.number for one in files)), files, strict=False):
            if file.number <= before:
                raise InvalidArgument(
                    f"import stream: file {file.number} after {before}, want numbers to ascend"
                )
            last = _checked(file).number
        if part == "files":
            yield [await _photo(file, None, exif) for file in files]
        else:
            photo = await _photo(request.file, requests, exif)
            yield [photo]
            passed_over = not photo.data
    if says_end:
        raise InvalidArgument("import stream: it broke off, want a message of no files at its end")


async def _photo(message: Any, rest: AsyncIterator[Any] | None, exif: bool) -> Photo:
    """Receives a photo, whose data may continue in the rest of the stream."""
    try:
        file = ImportFile.from_message(message)
        receiver = file.receiver()
    except BlindsightError as error:
        # The stream goes on with the next file, whether chunks of this one come or not.
        return Photo(message.number, message.name, b"", message.id, error)
    if file.data:
        receiver.add(file.data)
    data = receiver.finish() if rest is None else await announced(rest, receiver)
    values = file.metadata.values if file.metadata is not None else {}
    return Photo(file.number, file.name, data, file.id, values=values, vectors=file.vectors, exif=exif)


def reports(items: Sequence[Any]) -> list[ItemReport]:
    """Converts the reports of a worker.

    Raises:
        InvalidArgument: if there are more than `MAX_REPORTED`, a number is too large, or a state is unknown.
    """
    if len(items) > MAX_REPORTED:
        raise InvalidArgument(f"{len(items)} items reported at once, want at most {MAX_REPORTED}")
    return [ItemReport.from_message(_checked(item)) for item in items]


def message_ids(ids: Collection[bytes]) -> Collection[bytes]:
    """Returns the ids of messages that a worker asks for.

    Raises:
        InvalidArgument: if there are more than `MAX_REPORTED`.
    """
    if len(ids) > MAX_REPORTED:
        raise InvalidArgument(f"{len(ids)} messages asked for at once, want at most {MAX_REPORTED}")
    return ids


def trial(request: Any) -> Trial:
    """Converts a worker's record of a trial in quarantine.

    Raises:
        InvalidArgument: if the trial's id has the wrong size, its number is too large, or its state unknown.
    """
    if len(request.trial_id) != TRIAL_ID_BYTES:
        raise InvalidArgument(f"trial_id has {len(request.trial_id)} bytes, want {TRIAL_ID_BYTES}")
    return Trial.from_message(_checked(request))


def _checked(item: Any) -> Any:
    if item.number >= MAX_ITEMS:
        raise InvalidArgument(f"item number {item.number}, want less than {MAX_ITEMS}")
    return item
