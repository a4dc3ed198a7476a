"""Receives data from clients: checks sizes and digests, and limits how long a client may take."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from blindsight.ciphertext.header import SECRET_MAGICS
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted, SecretMaterialRefused
from blindsight.wire.blocks import AnnouncedBlock

Chunk = TypeVar("Chunk")
MAX_PUBLIC_KEY_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of a call.

    Attributes:
        stall_seconds: a client that sends nothing for this long is refused.
        call_seconds: a call that takes longer is aborted.
    """

    stall_seconds: float
    call_seconds: float

    def deadline(self, what: str) -> Deadline:
        """Returns the deadline of a call that begins now; error messages call it `what`."""
        return Deadline(time.monotonic() + self.call_seconds, self.call_seconds, what)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time at which a call is aborted."""

    at: float
    seconds: float
    what: str

    def check(self) -> None:
        """Raises if the deadline has passed.

        Raises:
            ResourceExhausted: if the call takes too long.
        """
        if time.monotonic() > self.at:
            raise ResourceExhausted(f"{self.what} takes over {self.seconds:g} s, too long")


def check_announced(block: AnnouncedBlock, header_bytes: int) -> None:
    """Refuses an announcement that cannot be of a block, before anything is allocated.

    Args:
        header_bytes: size of a block's header.

    Raises:
        InvalidArgument: if the digest has the wrong size.
        InvalidCiphertext: if the block would be smaller than its header.
    """
    check_digest_size(block.sha256, "a block has")
    if block.size_bytes < header_bytes:
        raise InvalidCiphertext(f"block of {block.size_bytes} bytes, want at least {header_bytes}")


def check_came(announced: AnnouncedBlock, head: bytes | bytearray, size_bytes: int, sha256: bytes) -> None:
    """Refuses a received block that is a key, or not the announced one.

    Args:
        head: the first bytes of the block.
        size_bytes, sha256: size and digest of what was received.

    Raises:
        SecretMaterialRefused: if it looks like a key.
        InvalidArgument: if its size or digest is not as announced.
    """
    check_no_secret(head, "a block of ciphertexts")
    if size_bytes != announced.size_bytes:
        raise InvalidArgument(f"a block: {size_bytes} bytes came, want {announced.size_bytes}")
    check_digest(sha256, announced.sha256, "a block")


def check_no_secret(head: bytes | bytearray, wanted: str) -> None:
    """Refuses secret material; call it before other checks, so that a key is always reported as one.

    Raises:
        SecretMaterialRefused: if the bytes look like a key.
    """
    if head.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused(f"got a serialised key, want {wanted}")


def check_public_key(data: bytes) -> None:
    """Refuses bytes that cannot be a public key, before they are parsed.

    Raises:
        SecretMaterialRefused: if they look like a secret key.
        InvalidArgument: if they are too many.
    """
    if data.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused("got a secret key, want a public one")
    if len(data) > MAX_PUBLIC_KEY_BYTES:
        raise InvalidArgument(f"public key of {len(data)} bytes, want at most {MAX_PUBLIC_KEY_BYTES}")


def check_digest_size(sha256: bytes, whose: str) -> None:
    """Refuses a digest that cannot be a SHA-256.

    Raises:
        InvalidArgument: if it is not 32 bytes.
    """
    if len(sha256) != hashlib.sha256().digest_size:
        raise InvalidArgument(f"{whose} a digest of {len(sha256)} bytes, want 32")


def check_digest(came: bytes, announced: bytes, what: str) -> None:
    """Refuses data whose digest is not the announced one.

    Raises:
        InvalidArgument: if the digests differ.
    """
    if came != announced:
        raise InvalidArgument(f"{what}: the SHA-256 does not match what came")


async def collect(
    chunks: AsyncIterator[bytes], size_bytes: int, append: Callable[[bytes], None], stall_seconds: float
) -> bytes:
    """Receives the chunks of a block until it is complete or the stream ends; returns their SHA-256.

    Args:
        size_bytes: the announced size.
        append: called with every chunk.
        stall_seconds: the longest wait for a chunk.

    Raises:
        InvalidArgument: if a chunk is empty, more than was announced comes, or no chunk comes in time.
    """
    received, digest = 0, Digest()
    while received < size_bytes and (chunk := await next_chunk(chunks, stall_seconds)) is not None:
        if not chunk or received + len(chunk) > size_bytes:
            raise InvalidArgument(f"an empty chunk, or more than the announced {size_bytes} bytes of a block")
        append(chunk)
        received += len(chunk)
        await digest.add(chunk)
    return await digest.finish()


class Digest:
    """The SHA-256 of a stream: computed in a thread, a chunk while the next one is received."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()
        self._adding: Awaitable[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Adds a chunk, once those before it are added."""
        if self._adding is not None:
            await self._adding
        self._adding = asyncio.ensure_future(asyncio.to_thread(self._total.update, chunk))

    async def finish(self) -> bytes:
        """Returns the digest of all chunks."""
        if self._adding is not None:
            await self._adding
        return self._total.digest()


async def next_chunk(chunks: AsyncIterator[Chunk], stall_seconds: float) -> Chunk | None:
    """Returns the next part of a stream, None at the end.

    Raises:
        InvalidArgument: if nothing comes for `stall_seconds`, so that a client that announces much and sends
            nothing does not keep others out.
    """
    try:
        async with asyncio.timeout(stall_seconds):
            return await anext(chunks, None)
    except TimeoutError as error:
        raise InvalidArgument(f"no chunk came for {stall_seconds:g} s") from error
