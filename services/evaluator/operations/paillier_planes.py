"""Kernels applied to pictures under Paillier: a row of results is sent once the rows that it needs are there.

A ciphertext holds the pixels at one position of all blocks of a picture (`blindsight.additive.planes`), so
nothing moves inside a ciphertext; kernels of rank 1 are applied along the rows and then along the columns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from blindsight.additive.block import HEADER, AdditiveHeader, check_expected, check_size, parse_header
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.planes import IDENTITY, MAX_ROW_BYTES, PlaneShape, growth, of_positions, row_bytes
from blindsight.additive.powers import weighted_products
from blindsight.additive.schemes import SCHEMES, AdditiveScheme
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted
from blindsight.packing.kernels import PlaneKernel
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.runtime.processpool import WorkerPool, in_order
from blindsight.runtime.transfer import digest
from blindsight.wire.planes import PaillierPlanes, PlanePart, PlanePlan, PlaneResult, PlaneSummary, PlaneTiles
from services.evaluator import metrics, tasks
from services.evaluator.operations.combine import SLICE_WORD_PRODUCTS
from services.evaluator.operations.intake import (
    Deadline,
    Limits,
    check_digest,
    check_digest_size,
    check_no_secret,
    check_public_key,
    next_chunk,
)

# Limit of the rows that are held at the same time, over all clients.
MAX_WAITING_BYTES = 256 << 20
# Copies of a row, inside and outside of tasks, for each row that is being worked on.
_COPIES = 4


@dataclass(frozen=True, slots=True)
class PaillierForm:
    """The form of planes, known before any row is received.

    Attributes:
        key: the public key.
        shape: shape of the planes.
        header: header of a row.
    """

    key: AdditivePublicKey
    shape: PlaneShape
    header: AdditiveHeader

    @property
    def plan(self) -> PlanePlan:
        """The plan of the results, which is sent first."""
        return PlanePlan("", self.key.key_id, self.shape.results, halo=self.shape.halo)

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return row_bytes(self.header, self.shape.width)


_Works = AsyncIterator[Coroutine[Any, Any, PlaneResult]]


@dataclass(slots=True)
class _Applied:
    """A kernel split into its pass along a row and the pass after that, and the header of its results."""

    across: PlaneKernel
    rest: PlaneKernel
    header: AdditiveHeader


@dataclass(slots=True)
class _Call:
    form: PaillierForm
    public_key: bytes
    kernels: list[_Applied]
    deadline: Deadline
    seconds: float = field(default=0.0)


class PaillierOperations:
    """The operations on Paillier planes, computed in worker processes.

    Args:
        pool: the worker processes.
        limits: time limits of each call.
    """

    def __init__(self, pool: WorkerPool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits
        self._memory = MemoryBudget(MAX_WAITING_BYTES, "encrypted pictures")

    async def transform(
        self, planes: PaillierPlanes, kernels: tuple[PlaneKernel, ...], rows: AsyncIterator[PlaneTiles]
    ) -> AsyncGenerator[PlanePart, None]:
        """Applies every kernel at every position; yields a plan, rows of results in order, and a summary.

        Args:
            kernels: the kernels, none of which reaches farther than the halo.

        Raises:
            InvalidArgument, InvalidCiphertext, SecretMaterialRefused: if the request is invalid.
            ResourceExhausted: if the rows are too large, or the work takes too long.
            Unavailable: if a worker process died twice over it.
        """
        form = _announced(planes)
        applied = [_applied(kernel, form) for kernel in kernels]
        call = _Call(form, planes.public_key, applied, self._limits.deadline("an image operation"))
        with self._memory.take(self._waiting_bytes(call)):
            yield form.plan
            name = SCHEMES[form.key.scheme].name
            with metrics.PLANES_SECONDS.labels("transform", name, name).time():
                works = self._works(call, rows)
                async with aclosing(in_order(works, self._pool.at_once)) as results:
                    async for result in results:
                        yield result
        yield PlaneSummary(call.seconds)

    def _waiting_bytes(self, call: _Call) -> int:
        rows = 2 * call.form.shape.halo + 1 + _COPIES * self._pool.at_once
        size = rows * call.form.row_bytes * len(call.kernels)
        if size > MAX_WAITING_BYTES:
            raise ResourceExhausted(
                f"{rows} rows of {call.form.row_bytes} bytes for {len(call.kernels)} kernels, "
                f"want at most {MAX_WAITING_BYTES} bytes"
            )
        return size

    async def _works(self, call: _Call, rows: AsyncIterator[PlaneTiles]) -> _Works:
        """Yields the computation of each row of a result, as soon as the rows that it needs are there."""
        shape = call.form.shape
        window: deque[list[bytes]] = deque(maxlen=2 * shape.halo + 1)
        first = 0
        swept = (self._swept(call, row) async for row in self._received(call.form, rows))
        async with aclosing(in_order(swept, self._pool.at_once)) as received:
            async for row in received:
                window.append(row)
                if len(window) == window.maxlen:
                    for kernel in range(len(call.kernels)):
                        yield self._result(call, kernel, first, [lines[kernel] for lines in window])
                    first += shape.inner_width

    async def _received(self, form: PaillierForm, rows: AsyncIterator[PlaneTiles]) -> AsyncIterator[bytes]:
        for number in range(form.shape.height):
            sent = await next_chunk(rows, self._limits.stall_seconds)
            if sent is None:
                raise InvalidArgument(f"the stream ended after {number} of {form.shape.height} rows")
            await asyncio.to_thread(_check_row, sent, form)
            yield sent.block[HEADER.size :]

    async def _swept(self, call: _Call, row: bytes) -> list[bytes]:
        """Checks the numbers of a row; returns for each kernel the result of its pass along the row."""
        _, seconds = await self._pool.timed(tasks.CheckNumbers(call.public_key, row))
        call.seconds += seconds
        made: dict[PlaneKernel, bytes] = {IDENTITY: row}
        for one in call.kernels:
            if one.across not in made:
                made[one.across] = await self._windows(
                    call, one.header, one.across, [self._cut(call, one.across, row)]
                )
        return [made[one.across] for one in call.kernels]

    async def _result(self, call: _Call, kernel: int, first: int, window: list[bytes]) -> PlaneResult:
        one = call.kernels[kernel]
        top = call.form.shape.halo - one.rest.anchor_row
        rows = window[top : top + one.rest.height]
        if one.across == IDENTITY:
            rows = [self._cut(call, one.rest, row) for row in rows]
        numbers = await self._windows(call, one.header, one.rest, rows)
        return PlaneResult(kernel, first, one.header.pack() + numbers)

    @staticmethod
    def _cut(call: _Call, kernel: PlaneKernel, row: bytes) -> bytes:
        """Returns the part of a whole row that a kernel needs."""
        shape, size = call.form.shape, call.form.header.number_bytes
        start = shape.halo - kernel.anchor_column
        return row[start * size : (start + shape.inner_width + kernel.width - 1) * size]

    async def _windows(
        self, call: _Call, header: AdditiveHeader, kernel: PlaneKernel, rows: list[bytes]
    ) -> bytes:
        """Computes the weighted sums of a row, in slices of a quarter of a second; returns their numbers."""
        parts = []
        for columns in _slices(call.form, kernel):
            call.deadline.check()
            task = tasks.ApplyWindow(call.public_key, header, tuple(row[columns] for row in rows), kernel)
            numbers, seconds = await self._pool.timed(task)
            call.seconds += seconds
            parts.append(numbers)
        return b"".join(parts)


def _announced(planes: PaillierPlanes) -> PaillierForm:
    check_public_key(planes.public_key)
    key = AdditivePublicKey.from_bytes(planes.public_key)
    if key.scheme is not AdditiveScheme.PAILLIER:
        raise InvalidArgument(f"planes under {SCHEMES[key.scheme].name}, want paillier")
    shape = PlaneShape(planes.height, planes.width, planes.halo)
    header = parse_header(planes.header)
    check_expected(header, key)
    if header.growth != 1 or header != of_positions(header, shape.width):
        raise InvalidCiphertext(f"rows of another form than fresh ones of {shape.width} positions")
    form = PaillierForm(key, shape, header)
    if form.row_bytes > MAX_ROW_BYTES:
        raise ResourceExhausted(f"rows of {form.row_bytes} bytes, want at most {MAX_ROW_BYTES}")
    return form


def _applied(kernel: PlaneKernel, form: PaillierForm) -> _Applied:
    grown = growth(kernel, form.header.layout.value_bits)
    header = of_positions(form.header, form.shape.inner_width, grown)
    return _Applied(*form.shape.passes(kernel), header)


def _check_row(sent: PlaneTiles, form: PaillierForm) -> None:
    """Refuses a row of another form than was announced; a worker process checks its numbers."""
    check_no_secret(sent.block, "a row of ciphertexts")
    check_digest_size(sent.sha256, "a row has")
    if parse_header(sent.block) != form.header:
        raise InvalidCiphertext("a row of another key or form than was announced")
    check_size(form.header, form.key, len(sent.block))
    check_digest(digest(sent.block), sent.sha256, "a row")


def _slices(form: PaillierForm, kernel: PlaneKernel) -> Iterator[slice]:
    """Yields slices of a row's bytes, each with what a kernel needs for one slice of work."""
    words = -(-form.key.group.modulus.bit_length() // 64)
    step = max(1, SLICE_WORD_PRODUCTS // (max(1, weighted_products(kernel.weights)) * words**2))
    size, results = form.header.number_bytes, form.shape.inner_width
    for start in range(0, results, step):
        stop = min(start + step, results) + kernel.width - 1
        yield slice(start * size, stop * size)
