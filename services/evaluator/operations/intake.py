"""What arrives from callers: so much of it at once, so long, and none from who has stopped sending."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from blindsight.ciphertext.header import SECRET_MAGICS
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted, SecretMaterialRefused
from blindsight.wire.blocks import AnnouncedBlock

Chunk = TypeVar("Chunk")
MAX_PUBLIC_KEY_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a caller may take.

    Attributes:
        stall_seconds: who sends nothing for so long is refused.
        call_seconds: what takes longer is given up.
    """

    stall_seconds: float
    call_seconds: float

    def deadline(self, what: str) -> Deadline:
        """For a call that begins now; `what` it is, for people."""
        return Deadline(time.monotonic() + self.call_seconds, self.call_seconds, what)


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a call is given up."""

    at: float
    seconds: float
    what: str

    def check(self) -> None:
        """Ends a call that takes too long.

        Raises:
            ResourceExhausted: then.
        """
        if time.monotonic() > self.at:
            raise ResourceExhausted(f"{self.what} takes over {self.seconds:g} s, too long")


def check_announced(block: AnnouncedBlock, header_bytes: int) -> None:
    """Refuses what can be no block, before anything is allocated.

    Args:
        header_bytes: that a block begins with.

    Raises:
        InvalidArgument, InvalidCiphertext: with what was got and what was wanted.
    """
    check_digest_size(block.sha256, "a block has")
    if block.size_bytes < header_bytes:
        raise InvalidCiphertext(f"block of {block.size_bytes} bytes, want at least {header_bytes}")


def check_came(announced: AnnouncedBlock, head: bytes | bytearray, size_bytes: int, sha256: bytes) -> None:
    """Refuses another block than was announced, by its first bytes, its size and its digest.

    Raises:
        InvalidArgument, SecretMaterialRefused: with what was got and what was wanted.
    """
    check_no_secret(head, "a block of ciphertexts")
    if size_bytes != announced.size_bytes:
        raise InvalidArgument(f"a block: {size_bytes} bytes came, want {announced.size_bytes}")
    check_digest(sha256, announced.sha256, "a block")


def check_no_secret(head: bytes | bytearray, wanted: str) -> None:
    """Before anything else: a secret key is called by its name whatever surrounds it.

    Raises:
        SecretMaterialRefused: if it looks like a key.
    """
    if head.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused(f"got a serialised key, want {wanted}")


def check_public_key(data: bytes) -> None:
    """Refuses what can be no public key, before it is parsed.

    Raises:
        InvalidArgument, SecretMaterialRefused: with what was got and what was wanted.
    """
    if data.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused("got a secret key, want a public one")
    if len(data) > MAX_PUBLIC_KEY_BYTES:
        raise InvalidArgument(f"public key of {len(data)} bytes, want at most {MAX_PUBLIC_KEY_BYTES}")


def check_digest_size(sha256: bytes, whose: str) -> None:
    """Refuses what is no SHA-256.

    Raises:
        InvalidArgument: with how long it is.
    """
    if len(sha256) != hashlib.sha256().digest_size:
        raise InvalidArgument(f"{whose} a digest of {len(sha256)} bytes, want 32")


def check_digest(came: bytes, announced: bytes, what: str) -> None:
    """Refuses what is not what was announced.

    Raises:
        InvalidArgument: then.
    """
    if came != announced:
        raise InvalidArgument(f"{what}: the SHA-256 does not match what came")


async def collect(
    chunks: AsyncIterator[bytes], size_bytes: int, append: Callable[[bytes], None], stall_seconds: float
) -> bytes:
    """Takes the chunks of a block until it is whole or the stream ends; the SHA-256 of what came.

    Args:
        size_bytes: what was announced.
        append: takes every chunk.

    Raises:
        InvalidArgument: for an empty chunk, more than was announced, or when nothing comes for so long.
    """
    received, digest = 0, hashlib.sha256()
    while received < size_bytes and (chunk := await next_chunk(chunks, stall_seconds)) is not None:
        if not chunk or received + len(chunk) > size_bytes:
            raise InvalidArgument(f"an empty chunk, or more than the announced {size_bytes} bytes of a block")
        append(chunk)
        received += len(chunk)
        await asyncio.to_thread(digest.update, chunk)
    return digest.digest()


async def next_chunk(chunks: AsyncIterator[Chunk], stall_seconds: float) -> Chunk | None:
    """The next of what a stream is made of, None at the end.

    Raises:
        InvalidArgument: if nothing comes for so long: who announces much and sends nothing must not keep
            others out.
    """
    try:
        async with asyncio.timeout(stall_seconds):
            return await anext(chunks, None)
    except TimeoutError as error:
        raise InvalidArgument(f"no chunk came for {stall_seconds:g} s") from error
