"""Weighted sums of encrypted arrays: announced, received, checked on arrival, computed slice by slice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from blindsight.additive import lightphe, schemes
from blindsight.additive.block import (
    HEADER,
    AdditiveHeader,
    block_bytes,
    check_expected,
    check_size,
    parse_header,
    weighted_header,
)
from blindsight.additive.keys import AdditivePublicKey
from blindsight.errors import InvalidArgument, ResourceExhausted
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.runtime.processpool import WorkerPool
from blindsight.runtime.transfer import CHUNK_BYTES, MAX_COMBINE_BYTES, chunks
from blindsight.wire.blocks import AnnouncedBlock, CombineHeader, CombinePart, CombinePlan, CombineSummary
from services.evaluator import metrics, tasks
from services.evaluator.operations.intake import (
    Limits,
    check_announced,
    check_came,
    check_public_key,
    collect,
    next_chunk,
)

MAX_BLOCKS = 64
# Limit of the blocks that are received or computed with at the same time, over all clients.
MAX_RECEIVED_BYTES = 2 * MAX_COMBINE_BYTES
# Products of 64-bit words in one slice: a quarter of a second, so that other work of the pool does not wait.
SLICE_WORD_PRODUCTS = 100_000_000
# Least cost of one multiplication, whatever the size of its numbers: the overhead of Python.
LEAST_WORD_PRODUCTS = 4096
# Measured factor: LightPHE computes with Python's integers, and inverts for every negative weight.
LIGHTPHE_FACTOR = 16


def check_header(header: CombineHeader) -> AdditivePublicKey:
    """Checks the header of a weighted sum before anything is allocated; returns the public key.

    Raises:
        InvalidArgument, InvalidCiphertext, SecretMaterialRefused: if the header is invalid.
        ResourceExhausted: if the blocks are too large together.
    """
    check_public_key(header.public_key)
    _check_blocks(header)
    key = AdditivePublicKey.from_bytes(header.public_key, insecure_small_keys=header.insecure_small_keys)
    schemes.require(key.scheme, schemes.operation_of(header.weights))
    lightphe.require_installed(key.scheme)
    return key


def _check_blocks(header: CombineHeader) -> None:
    if not 1 <= len(header.blocks) <= MAX_BLOCKS or len(header.weights) != len(header.blocks):
        raise InvalidArgument(
            f"{len(header.weights)} weights for {len(header.blocks)} blocks, want as many, 1 to {MAX_BLOCKS}"
        )
    for block in header.blocks:
        check_announced(block, HEADER.size)
    if header.size_bytes > MAX_COMBINE_BYTES:
        raise ResourceExhausted(f"blocks of {header.size_bytes} bytes, want at most {MAX_COMBINE_BYTES}")


def ciphertexts_at_once(public_key: AdditivePublicKey, weights: Sequence[int]) -> int:
    """Returns the number of ciphertexts in one slice of work, at least 1."""
    words = -(-public_key.group.modulus.bit_length() // 64)
    products = sum(2 * max(1, weight.bit_length()) for weight in weights) * public_key.group.components
    if schemes.SCHEMES[public_key.scheme].algorithm:
        products *= LIGHTPHE_FACTOR
    return max(1, SLICE_WORD_PRODUCTS // (products * max(words**2, LEAST_WORD_PRODUCTS)))


class Combinations:
    """The operation that computes weighted sums in worker processes.

    Args:
        pool: the worker processes.
        limits: time limits of each call.
    """

    def __init__(self, pool: WorkerPool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits
        self._memory = MemoryBudget(MAX_RECEIVED_BYTES, "weighted sums")

    async def run(self, header: CombineHeader, parts: AsyncIterator[bytes]) -> AsyncIterator[CombinePart]:
        """Computes one weighted sum; yields a plan, pieces of a block, and a summary.

        Raises:
            InvalidArgument, InvalidCiphertext, SecretMaterialRefused: if the request is invalid.
            ResourceExhausted: if the blocks are too large, or the work takes too long.
            Unavailable: if a worker process died twice over it.
        """
        public_key = check_header(header)
        with self._memory.take(header.size_bytes):
            received = await self._receive(header, public_key, parts)
            result = weighted_header([one.header for one in received], header.weights)
            yield CombinePlan(block_bytes(result, public_key))
            yield result.pack()
            started, seconds = time.perf_counter(), 0.0
            work = self._tasks(header, public_key, result, received)
            async with aclosing(self._pool.map(work)) as slices:
                async for numbers, spent in slices:
                    seconds += spent
                    for piece in chunks(numbers, CHUNK_BYTES):
                        yield piece
            scheme = schemes.SCHEMES[public_key.scheme].name
            metrics.COMBINE_SECONDS.labels(scheme).observe(time.perf_counter() - started)
        yield CombineSummary(seconds)

    def _tasks(
        self,
        header: CombineHeader,
        public_key: AdditivePublicKey,
        result: AdditiveHeader,
        received: Sequence[_Received],
    ) -> Iterator[tasks.Combine]:
        """Yields slices of the work until the deadline."""
        step = ciphertexts_at_once(public_key, header.weights)
        size = result.number_bytes * public_key.group.components * step
        deadline = self._limits.deadline("a weighted sum")
        for start in range(HEADER.size, len(received[0].data), size):
            deadline.check()
            slices = tuple(bytes(one.data[start : start + size]) for one in received)
            yield tasks.Combine(header.public_key, header.insecure_small_keys, result, header.weights, slices)

    async def _receive(
        self, header: CombineHeader, public_key: AdditivePublicKey, parts: AsyncIterator[bytes]
    ) -> list[_Received]:
        received = [await self._block(announced, public_key, parts) for announced in header.blocks]
        if await next_chunk(parts, self._limits.stall_seconds) is not None:
            raise InvalidArgument("more came than the announced blocks")
        return received

    async def _block(
        self, announced: AnnouncedBlock, public_key: AdditivePublicKey, parts: AsyncIterator[bytes]
    ) -> _Received:
        data = bytearray()
        digest = await collect(parts, announced.size_bytes, data.extend, self._limits.stall_seconds)
        check_came(announced, data, len(data), digest)
        parsed = parse_header(data)
        check_expected(parsed, public_key)
        check_size(parsed, public_key, len(data))
        return _Received(parsed, data)


@dataclass(frozen=True, slots=True)
class _Received:
    header: AdditiveHeader
    data: bytearray
