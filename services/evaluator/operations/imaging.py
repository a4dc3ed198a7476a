"""Operations on encrypted planes: checks requests, and computes a few tiles at a time in worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

from blindsight.ciphertext.header import parse_header
from blindsight.ciphertext.residues import cut, view_block
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted
from blindsight.packing.kernels import MAX_KERNELS, PlaneKernel
from blindsight.packing.scale_space import check_phases
from blindsight.packing.tiling import BLOCK_CIPHERTEXTS
from blindsight.runtime.processpool import WorkerPool, in_order
from blindsight.wire.planes import (
    DifferenceHeader,
    PaillierPlanes,
    PlanePart,
    PlaneResult,
    PlaneSource,
    PlaneSummary,
    PlaneTiles,
    ScaleSpaceHeader,
    SentPlanes,
    StoredPlanes,
    TransformHeader,
)
from services.evaluator import metrics, tasks
from services.evaluator.batch_log import Storage
from services.evaluator.operations.intake import Limits, next_chunk
from services.evaluator.operations.paillier_planes import PaillierOperations
from services.evaluator.operations.sources import PlaneForm, Sources, tiled

# The most result ciphertexts of one task; this bounds its memory, and the time that other tasks wait for it.
TASK_RESULTS = 64
# The most results of one call; an image of 8 megapixels in colour with four kernels has a tenth of it.
MAX_RESULTS = 1 << 18
# Calls at the same time; each holds the tiles and results of about ten tasks.
MAX_CALLS = 32

_Work = tuple[int, tuple[tuple[bytes, ...], float]]  # first tile, a block for each result, seconds
_Works = AsyncIterator[Coroutine[Any, Any, _Work]]


class PlaneOperations:
    """The operations on encrypted planes, computed in worker processes.

    Args:
        storage: provides stored planes.
        pool: the worker processes.
        limits: time limits of each call.
    """

    def __init__(self, storage: Storage, pool: WorkerPool, limits: Limits) -> None:
        self._sources = Sources(storage, limits.stall_seconds)
        self._pool = pool
        self._limits = limits
        self._calls = asyncio.Semaphore(MAX_CALLS)
        self._paillier = PaillierOperations(pool, limits)

    @asynccontextmanager
    async def _one_call(self) -> AsyncIterator[None]:
        if self._calls.locked():
            raise ResourceExhausted("too many image operations at once; retry later")
        async with self._calls:
            yield

    def transform(
        self, header: TransformHeader, tiles: AsyncIterator[PlaneTiles]
    ) -> AsyncIterator[PlanePart]:
        """Applies every kernel to every tile; yields a plan, results in the order of tiles, and a summary.

        Raises:
            InvalidArgument, InvalidCiphertext, SecretMaterialRefused: if the request is invalid.
            ResourceExhausted: if the planes or results are too many, or the work takes too long.
            NotFound, DataLoss, Unavailable: see `Storage.read_planes`.
            Unavailable: also if a worker process died twice over it.
        """
        return self._apply("transform", header.planes, header.kernels, tiles)

    def scale_space(
        self, header: ScaleSpaceHeader, tiles: AsyncIterator[PlaneTiles]
    ) -> AsyncIterator[PlanePart]:
        """Computes Gaussians and their differences, like `transform` with the kernels of each image in order.

        Raises:
            The errors of `transform`; InvalidArgument also if an image's parameters are invalid.
        """
        return self._apply("scale_space", tiled(header.planes), _kernels(header), tiles)

    async def _apply(
        self,
        operation: str,
        planes: PlaneSource,
        kernels: tuple[PlaneKernel, ...],
        tiles: AsyncIterator[PlaneTiles],
    ) -> AsyncIterator[PlanePart]:
        _check_kernels(kernels)
        async with self._one_call():
            if isinstance(planes, PaillierPlanes):
                answers = self._transform_paillier(planes, kernels, tiles)
            else:
                answers = self._tiled(operation, planes, kernels, tiles)
            async with aclosing(answers):
                async for answer in answers:
                    yield answer
            await _require_end(tiles, self._limits.stall_seconds)

    def _transform_paillier(
        self, planes: PaillierPlanes, kernels: tuple[PlaneKernel, ...], rows: AsyncIterator[PlaneTiles]
    ) -> AsyncGenerator[PlanePart, None]:
        _check_reach(planes.halo, kernels)
        _check_results(planes.height * planes.width, kernels)
        return self._paillier.transform(planes, kernels, rows)

    async def _tiled(
        self,
        operation: str,
        planes: SentPlanes | StoredPlanes,
        kernels: tuple[PlaneKernel, ...],
        tiles: AsyncIterator[PlaneTiles],
    ) -> AsyncGenerator[PlanePart, None]:
        async with self._sources.open(planes, tiles) as opened:
            _check_reach(opened.form.halo, kernels)
            _check_results(opened.form.ciphertexts, kernels)
            yield opened.form.plan
            works = self._transforming(opened.form, kernels, opened.blocks)
            async with aclosing(self._answers(operation, opened.form, works)) as answers:
                async for answer in answers:
                    yield answer

    async def _transforming(
        self, form: PlaneForm, kernels: tuple[PlaneKernel, ...], blocks: AsyncIterator[bytes]
    ) -> _Works:
        step = min(BLOCK_CIPHERTEXTS, max(1, TASK_RESULTS // len(kernels)))
        first = 0
        async for block in blocks:
            view = view_block(block, form.parameters, form.key_id)
            for start in range(0, view.header.count, step):
                part = cut(view, start, start + step)
                task = tasks.Transform(form.parameters, form.key_id, part.to_bytes(), kernels)
                yield self._run(first, task)
                first += part.header.count

    async def difference(
        self,
        header: DifferenceHeader,
        minuend: AsyncIterator[PlaneTiles],
        subtrahend: AsyncIterator[PlaneTiles],
    ) -> AsyncIterator[PlanePart]:
        """Subtracts tile by tile; yields a plan, results in the order of tiles, and a summary.

        Args:
            minuend, subtrahend: the tiles of planes that are sent; both may read the same stream in turn.

        Raises:
            The errors of `transform`; InvalidArgument also if the planes do not fit each other.
        """
        async with self._one_call():
            async with (
                self._sources.open(tiled(header.minuend), minuend) as first,
                self._sources.open(tiled(header.subtrahend), subtrahend) as second,
            ):
                _check_alike(first.form, second.form)
                yield (first.form if first.form.width else second.form).plan
                works = self._subtracting(first.form, first.blocks, second.blocks)
                async with aclosing(self._answers("difference", first.form, works)) as answers:
                    async for answer in answers:
                        yield answer
            await _require_end(minuend, self._limits.stall_seconds)

    async def _subtracting(
        self, form: PlaneForm, minuend: AsyncIterator[bytes], subtrahend: AsyncIterator[bytes]
    ) -> _Works:
        first = 0
        async for block in minuend:
            other = await anext(subtrahend)  # as many blocks: `_check_alike`, and all but the last are full
            task = tasks.Subtract(form.parameters, form.key_id, block, other)
            yield self._run(first, task)
            first += parse_header(block).count

    async def _run(self, first: int, task: tasks.PlaneTask) -> _Work:
        return first, await self._pool.timed(task)

    async def _answers(
        self, operation: str, form: PlaneForm, works: _Works
    ) -> AsyncGenerator[PlanePart, None]:
        """Yields results as they come, up to the deadline, and a summary."""
        parameters, spent = form.parameters, 0.0
        deadline = self._limits.deadline("an image operation")
        labels = operation, parameters.scheme.name.lower(), parameters.name
        with metrics.PLANES_SECONDS.labels(*labels).time():
            async with aclosing(in_order(works, self._pool.at_once)) as results:
                async for first, (blocks, seconds) in results:
                    spent += seconds
                    for kernel, block in enumerate(blocks):
                        yield PlaneResult(kernel, first, block)
                    deadline.check()
        yield PlaneSummary(spent)


def _kernels(header: ScaleSpaceHeader) -> tuple[PlaneKernel, ...]:
    """Returns the kernels of all images, one image after the other."""
    check_phases(header.phases)
    most = MAX_KERNELS // header.phases**2
    if not 1 <= len(header.images) <= most:
        raise InvalidArgument(f"{len(header.images)} images of a scale space, want 1 to {most}")
    return tuple(kernel for image in header.images for kernel in image.plane_kernels(header.phases))


def _check_kernels(kernels: tuple[PlaneKernel, ...]) -> None:
    if not 1 <= len(kernels) <= MAX_KERNELS:
        raise InvalidArgument(f"{len(kernels)} kernels, want 1 to {MAX_KERNELS}")


def _check_reach(halo: int, kernels: tuple[PlaneKernel, ...]) -> None:
    reach = max(kernel.reach for kernel in kernels)
    if reach > halo:
        raise InvalidArgument(f"kernel that reaches {reach} pixels, want at most {halo}, the planes' halo")


def _check_results(ciphertexts: int, kernels: tuple[PlaneKernel, ...]) -> None:
    if ciphertexts * len(kernels) > MAX_RESULTS:
        raise ResourceExhausted(
            f"{ciphertexts} tiles by {len(kernels)} kernels, want at most {MAX_RESULTS} results"
        )


def _check_alike(first: PlaneForm, second: PlaneForm) -> None:
    if (first.parameters, first.key_id) != (second.parameters, second.key_id):
        raise InvalidCiphertext(
            f"planes of {second.parameters.name} and key {second.key_id.hex()}, "
            f"want {first.parameters.name} and {first.key_id.hex()}"
        )
    if (first.ciphertexts, first.halo) != (second.ciphertexts, second.halo):
        raise InvalidArgument(
            f"planes of {second.ciphertexts} tiles with halo {second.halo}, "
            f"want {first.ciphertexts} with halo {first.halo} as in the minuend"
        )
    if first.width and second.width and first.size != second.size:
        raise InvalidArgument(f"planes of {second.size}, want {first.size} as in the minuend")


async def _require_end(requests: AsyncIterator[object], stall_seconds: float) -> None:
    if await next_chunk(requests, stall_seconds) is not None:
        raise InvalidArgument("more came than the announced tiles")
