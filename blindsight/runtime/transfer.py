"""Large data on gRPC streams: a header with size and SHA-256, then chunks, verified at the end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from blindsight.errors import DataLoss, InvalidArgument, ResourceExhausted

# Measured on loopback between two Python processes: larger gains nothing, smaller costs messages.
CHUNK_BYTES = 1 << 20
# Largest message: a chunk, and the message around it.
MAX_MESSAGE_BYTES = 4 << 20
# Largest answer of a keyholder to its owner: a list of all collections, of which each takes half a kilobyte.
MAX_ANSWER_BYTES = 64 << 20
# Largest file of a photo: a client does not send larger ones, and the keyholder does not accept them.
MAX_PHOTO_BYTES = 64 << 20
# Ciphertexts of one weighted sum: the keyholder does not encrypt more, the evaluator does not accept more.
MAX_COMBINE_BYTES = 256 << 20
# Key in the initial metadata of an append: storage has read the header, and waits for the rest.
GO_AHEAD_KEY = "blindsight-go-ahead"
# Limits of a comparison of all rows with all queries, on both sides: ciphertexts of each, and results.
MAX_COMPARED_CIPHERTEXTS = 2048
MAX_COMPARED_RESULTS = 8192

Bytes = bytes | memoryview
Part = TypeVar("Part")


def chunks(data: Bytes, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Cuts `data` into pieces of at most `size` bytes."""
    return joined_chunks((data,), size)


def joined_chunks(parts: Iterable[Bytes], size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Joins parts and cuts them into pieces of `size` bytes, the last one shorter.

    Pieces cross the borders of parts: fewer messages, each of which costs as much time as sending a photo's
    bytes.
    """
    held: list[memoryview] = []
    room = size
    for part in parts:
        view = memoryview(part)
        while len(view) >= room:
            yield b"".join((*held, view[:room]))
            view, held, room = view[room:], [], size
        if len(view):
            held.append(view)
            room -= len(view)
    if held:
        yield b"".join(held)


def grouped(
    items: Iterable[Part], size_bytes: Callable[[Part], int], most_bytes: int = CHUNK_BYTES
) -> Iterator[list[Part]]:
    """Cuts items into groups for one message each: of at most so many bytes, but of one item at least."""
    group: list[Part] = []
    held = 0
    for item in items:
        size = size_bytes(item)
        if group and held + size > most_bytes:
            yield group
            group, held = [], 0
        group.append(item)
        held += size
    if group:
        yield group


def digest(*parts: Bytes) -> bytes:
    """Returns the SHA-256 of bytes, part after part."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.digest()


class Receiver:
    """Collects announced bytes, and refuses data of another size or digest.

    Args:
        size_bytes: size that the header announced.
        sha256: SHA-256 of all bytes, 32 bytes; None: the sender gives none, and only the size is checked.
        limit_bytes: largest size; more is refused before anything is allocated.
        what: what the data is called in error messages.

    Raises:
        ResourceExhausted: if the announced size is over the limit.
        InvalidArgument: if the announced digest is not 32 bytes.
    """

    def __init__(self, size_bytes: int, sha256: bytes | None, *, limit_bytes: int, what: str) -> None:
        if size_bytes > limit_bytes:
            raise ResourceExhausted(f"{what} of {size_bytes} bytes, want at most {limit_bytes}")
        if sha256 is not None and len(sha256) != hashlib.sha256().digest_size:
            raise InvalidArgument(f"{what} has a digest of {len(sha256)} bytes, want 32")
        self._what = what
        self._size = size_bytes
        self._sha256 = sha256
        self._parts: list[bytes] = []
        self._received = 0

    @property
    def complete(self) -> bool:
        """Whether all announced bytes have been received."""
        return self._received == self._size

    @property
    def missing_bytes(self) -> int:
        """The number of bytes not yet received."""
        return self._size - self._received

    def add(self, chunk: bytes) -> None:
        """Adds the next chunk.

        Raises:
            InvalidArgument: if it is empty, or more bytes are received than were announced.
        """
        self._received += len(chunk)
        if not chunk or self._received > self._size:
            raise InvalidArgument(f"{self._what}: {self._received} bytes came, want {self._size}")
        self._parts.append(chunk)

    def take(self, message: Any) -> None:
        """Adds the chunk of the next message; see `announced`.

        Raises:
            InvalidArgument: if the message holds no chunk, or for the reasons of `add`.
        """
        part = message.WhichOneof("part")
        if part != "chunk":
            got = f"{part or 'an empty message'} follows where {self._received} bytes came"
            raise InvalidArgument(f"{self._what}: {got}, want {self._size}")
        self.add(message.chunk)

    def finish(self) -> bytes:
        """Returns all bytes.

        Raises:
            InvalidArgument: if bytes are missing, or the digest does not match.
        """
        data = b"".join(self._parts)
        if len(data) != self._size:
            raise InvalidArgument(f"{self._what}: {len(data)} bytes came, want {self._size}")
        if self._sha256 is not None and digest(data) != self._sha256:
            raise InvalidArgument(f"{self._what}: the SHA-256 does not match what came")
        return data


async def announced(messages: AsyncIterator[Any], receiver: Receiver) -> bytes:
    """Reads the chunks that a header announced from a stream, and no further message.

    Args:
        messages: stream whose messages have a oneof `part` with `chunk` in it, read up to the header.
        receiver: receiver for the size and digest of the header.

    Raises:
        InvalidArgument: if there is another part among the chunks, or the bytes do not match the header.
    """
    while not receiver.complete and (message := await anext(messages, None)) is not None:
        receiver.take(message)
    return receiver.finish()


def announced_sync(messages: Iterator[Any], receiver: Receiver) -> bytes:
    """Reads announced chunks like `announced`, from a stream that is read in a thread."""
    while not receiver.complete and (message := next(messages, None)) is not None:
        receiver.take(message)
    return receiver.finish()


@contextmanager
def answer_of(service: str) -> Iterator[None]:
    """Reports errors in a service's answer, which the block reads, as DataLoss: the caller did nothing wrong.

    Raises:
        DataLoss: if the block raises InvalidArgument or ResourceExhausted.
    """
    try:
        yield
    except (InvalidArgument, ResourceExhausted) as error:
        raise DataLoss(f"the answer of {service}: {error.message}") from error


def part_of(message: Any, wanted: str) -> Any:
    """Returns the wanted part of an answer's next message; None stands for the end of the stream.

    Raises:
        DataLoss: if the message holds another part, or the stream has ended.
    """
    if message is None:
        raise DataLoss(f"an answer ended before its {wanted} came")
    got = message.WhichOneof("part")
    if got != wanted:
        raise DataLoss(f"an answer has {got or 'an empty message'} where its {wanted} is wanted")
    return getattr(message, wanted)


def require_end(message: Any) -> None:
    """Checks that an answer has ended; None stands for the end of the stream.

    Raises:
        DataLoss: if there is another message.
    """
    if message is not None:
        raise DataLoss(f"an answer goes on with {message.WhichOneof('part')}, want its end")


async def until(stopping: asyncio.Event, source: AsyncIterator[Part]) -> AsyncGenerator[Part, None]:
    """Yields from a source until an event is set, which cancels the wait for the next part."""
    running: set[asyncio.Future[Any]] = {asyncio.ensure_future(stopping.wait())}
    try:
        while not stopping.is_set():
            coming = asyncio.ensure_future(anext(source, None))
            running.add(coming)
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done() or (part := coming.result()) is None:
                return
            running.discard(coming)
            yield part
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
