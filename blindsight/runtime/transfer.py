"""Large things on gRPC streams: a header with size and SHA-256, then chunks, checked at the end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from blindsight.errors import DataLoss, InvalidArgument, ResourceExhausted

# Measured on loopback between two Python processes: larger gains nothing, smaller costs messages.
CHUNK_BYTES = 1 << 20
# One message: a chunk and what surrounds it.
MAX_MESSAGE_BYTES = 4 << 20
# One photo as it stands in its file: a client does not send more, the keyholder does not take more.
MAX_PHOTO_BYTES = 64 << 20
# Ciphertexts of one weighted sum: the keyholder does not encrypt more, the evaluator does not take more.
MAX_COMBINE_BYTES = 256 << 20
# In the initial metadata of an append: storage has read its header, and wants the rest.
GO_AHEAD_KEY = "blindsight-go-ahead"
# A comparison of all with all, of each side and in all: the same.
MAX_COMPARED_CIPHERTEXTS = 2048
MAX_COMPARED_RESULTS = 8192

Part = TypeVar("Part")


def chunks(data: bytes | memoryview, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Cuts `data` into pieces of at most `size` bytes."""
    return joined_chunks((data,), size)


def joined_chunks(parts: Iterable[bytes | memoryview], size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Cuts parts that follow each other into pieces of `size` bytes, the last one shorter.

    Borders of parts are nowhere seen: a message costs as much time as the bytes of a whole photo.
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


def digest(data: bytes | memoryview) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


class Receiver:
    """Collects announced bytes and refuses more, less or other ones.

    Args:
        size_bytes: what the header announced.
        sha256: of the whole, 32 bytes.
        limit_bytes: more is refused before anything is allocated.
        what: names the thing in messages.

    Raises:
        ResourceExhausted: when the announced size is over the limit.
        InvalidArgument: when the announced digest is not 32 bytes.
    """

    def __init__(self, size_bytes: int, sha256: bytes, *, limit_bytes: int, what: str) -> None:
        if size_bytes > limit_bytes:
            raise ResourceExhausted(f"{what} of {size_bytes} bytes, want at most {limit_bytes}")
        if len(sha256) != hashlib.sha256().digest_size:
            raise InvalidArgument(f"{what} has a digest of {len(sha256)} bytes, want 32")
        self._what = what
        self._size = size_bytes
        self._sha256 = sha256
        self._parts: list[bytes] = []
        self._received = 0

    @property
    def complete(self) -> bool:
        """Whether as many bytes came as were announced."""
        return self._received == self._size

    @property
    def missing_bytes(self) -> int:
        """How much is still to come."""
        return self._size - self._received

    def add(self, chunk: bytes) -> None:
        """Takes the next chunk.

        Raises:
            InvalidArgument: when it is empty, or more comes than was announced.
        """
        self._received += len(chunk)
        if not chunk or self._received > self._size:
            raise InvalidArgument(f"{self._what}: {self._received} bytes came, want {self._size}")
        self._parts.append(chunk)

    def take(self, message: Any) -> None:
        """Takes the next message, which must be a chunk; see `announced`.

        Raises:
            InvalidArgument: when it is something else, and as `add`.
        """
        part = message.WhichOneof("part")
        if part != "chunk":
            got = f"{part or 'an empty message'} follows where {self._received} bytes came"
            raise InvalidArgument(f"{self._what}: {got}, want {self._size}")
        self.add(message.chunk)

    def finish(self) -> bytes:
        """The whole.

        Raises:
            InvalidArgument: when bytes are missing or are not those of the digest.
        """
        data = b"".join(self._parts)
        if len(data) != self._size:
            raise InvalidArgument(f"{self._what}: {len(data)} bytes came, want {self._size}")
        if digest(data) != self._sha256:
            raise InvalidArgument(f"{self._what}: the SHA-256 does not match what came")
        return data


async def announced(messages: AsyncIterator[Any], receiver: Receiver) -> bytes:
    """Takes what a header announced out of a stream: the chunks that follow it, and no message more.

    Args:
        messages: of an rpc whose messages have a oneof `part` with `chunk` in it, read up to the header.
        receiver: of what the header says.

    Raises:
        InvalidArgument: when something else comes among the chunks, or other bytes than were announced.
    """
    while not receiver.complete and (message := await anext(messages, None)) is not None:
        receiver.take(message)
    return receiver.finish()


def announced_sync(messages: Iterator[Any], receiver: Receiver) -> bytes:
    """As `announced`, of a stream that is read in a thread."""
    while not receiver.complete and (message := next(messages, None)) is not None:
        receiver.take(message)
    return receiver.finish()


@contextmanager
def answer_of(service: str) -> Iterator[None]:
    """Around the reading of a service's answer: what is wrong in it is no fault of whoever asked for it.

    Raises:
        DataLoss: in place of InvalidArgument and ResourceExhausted.
    """
    try:
        yield
    except (InvalidArgument, ResourceExhausted) as error:
        raise DataLoss(f"the answer of {service}: {error.message}") from error


def part_of(message: Any, wanted: str) -> Any:
    """What the next message of an answer holds, if it is what is wanted here; None is the end of a stream.

    Raises:
        DataLoss: when it is something else.
    """
    if message is None:
        raise DataLoss(f"an answer ended before its {wanted} came")
    got = message.WhichOneof("part")
    if got != wanted:
        raise DataLoss(f"an answer has {got or 'an empty message'} where its {wanted} is wanted")
    return getattr(message, wanted)


def require_end(message: Any) -> None:
    """Refuses a message after the last one of a stream; None is its end.

    Raises:
        DataLoss: for anything else.
    """
    if message is not None:
        raise DataLoss(f"an answer goes on with {message.WhichOneof('part')}, want its end")


async def until(stopping: asyncio.Event, source: AsyncIterator[Part]) -> AsyncGenerator[Part, None]:
    """What a source yields until an event is set; what it is waiting for then is left to it."""
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
