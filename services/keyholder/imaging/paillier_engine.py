"""Paillier: filters of pictures whose blocks lie on top of each other, and differences as weighted sums.

`blindsight.additive.planes` says how a picture lies in ciphertexts.  A key is drawn for each round trip, and
forgotten.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np

from blindsight.additive import block as blocks_wire
from blindsight.additive import layout, schemes
from blindsight.additive import planes as stacks
from blindsight.additive.block import HEADER, AdditiveHeader
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.planes import MAX_POSITIONS, MAX_ROW_BYTES, Stack
from blindsight.additive.schemes import SCHEMES, AdditiveScheme
from blindsight.errors import DataLoss, ResourceExhausted
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import Integers
from blindsight.runtime.processpool import WorkerPool, in_order
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.clients import (
    EvaluatorClient,
    PlanePart,
    PlanePlan,
    PlaneResult,
    PlaneSummary,
    StackedPlanes,
)
from blindsight.trusted.crypto import tasks
from blindsight.trusted.imaging.blocks import Blocks, arrange
from blindsight.trusted.imaging.quantising import Room
from blindsight.trusted.secrets import Secret
from services.keyholder.imaging.engine import Account, Progress, Stage, Transformed, Values
from services.keyholder.operations import combine
from services.keyholder.operations.combine import Combination, Combine

# A byte.
_VALUE_BITS = 8
# Ciphertexts that a worker encrypts or decrypts at once: other work waits for no more than that.
_AT_ONCE = 16
# Measured: a decryption takes as long as so many products modulo n^2 for every bit of n.
_PRODUCTS_OF_A_DECRYPTION = 0.31
# Every bit of a weight takes room from other pixels, so a tenth of a grey level is good enough.
_ENOUGH = 0.1
# Results are handed around as 32 bits with a sign.
_MOST_RESULT = 1 << 30
_STAGES = {
    combine.Stage.KEYGEN: Stage.KEYGEN,
    combine.Stage.ENCRYPT: Stage.ENCRYPT,
    combine.Stage.COMPUTE: Stage.COMPUTE,
    combine.Stage.DECRYPT: Stage.DECRYPT,
}


class AdditiveEngine:
    """One job under an additive scheme; see `PlaneEngine`.

    Args:
        scheme: paillier; scramble, which can only subtract.
        key_bits: None for the scheme's default.
        evaluator, pool, combinations: the keyholder's rooms; estimates have the limit of `combinations`.
        view_pixels: of the pictures of what the evaluator sees of a difference; 0: there are none.

    Raises:
        InvalidArgument: when there is no key of that size.
    """

    def __init__(
        self,
        scheme: AdditiveScheme,
        key_bits: int | None,
        evaluator: EvaluatorClient,
        pool: WorkerPool,
        combinations: Combine,
        view_pixels: int = 0,
    ) -> None:
        self._scheme = scheme
        self._bits = schemes.key_bits(scheme, key_bits)
        self._evaluator = evaluator
        self._pool = pool
        self._combinations = combinations
        self._view_pixels = view_pixels
        info = SCHEMES[scheme]
        self.room = Room(info.name, _MOST_RESULT, enough=_ENOUGH)
        warning = schemes.warning(scheme, self._bits)
        self.account = Account(info.name, key_bits=self._bits, description=info.description, warning=warning)

    async def transform(
        self, padded: Integers, reach: int, kernels: Sequence[PlaneKernel]
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """See `PlaneEngine.transform`."""
        schemes.require(self._scheme, schemes.Operation.WEIGHTED_SUM)
        yield Progress(Stage.KEYGEN, 0, 1)
        job = await self._job(padded.shape, reach, kernels)
        await self._check_time(job)
        yield Progress(Stage.KEYGEN, 1, 1)
        positions = await asyncio.to_thread(job.positions, padded)
        answers = self._evaluator.transform(job.source, kernels, partial(self._rows, job, positions))
        async for progress in self._collected(job, answers):
            yield progress
        yield Transformed(np.stack([job.blocks.join(one) for one in job.values]))

    async def difference(
        self, minuend: Integers, subtrahend: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """See `PlaneEngine.difference`: a weighted sum of two arrays."""
        bits = None if SCHEMES[self._scheme].fixed_bits else self._bits
        settings = combine.Settings(self._scheme, bits, weights=(1, -1), sample_bytes=self._view_pixels)
        sums = self._combinations.run(settings, [one.astype(np.int64) for one in (minuend, subtrahend)])
        async for answer in sums:
            if isinstance(answer, Combination):
                self._fill(answer)
                yield Transformed(answer.values.astype(np.int32)[None])
            else:
                yield Progress(_STAGES[answer.stage], answer.done, answer.total)

    async def _job(self, shape: tuple[int, ...], reach: int, kernels: Sequence[PlaneKernel]) -> _Job:
        """A key, and the blocks for it."""
        planes, height, width = shape
        public, secret = await self._pool.run(
            tasks.GenerateKey(self._scheme, self._bits, insecure_small_keys=False)
        )
        key = AdditivePublicKey.from_bytes(public)
        guard_bits = stacks.guard_bits(kernels, _VALUE_BITS)
        widest = 1, layout.MOST_PER_CIPHERTEXT
        header = blocks_wire.fresh_header(key, widest, _VALUE_BITS, guard_bits)

        def fits(blocks: Blocks) -> bool:
            rows, columns = blocks.outer
            return (
                rows * columns * len(kernels) <= MAX_POSITIONS
                and stacks.row_bytes(header, columns) <= MAX_ROW_BYTES
            )

        inner = planes, height - 2 * reach, width - 2 * reach
        blocks = arrange(inner, reach, header.layout.per_ciphertext, len(kernels), fits)
        return _Job(key, Secret(secret), header, blocks, kernels)

    async def _check_time(self, job: _Job) -> None:
        """Refuses what would take too long, by a measurement of one ciphertext."""
        one = stacks.of_positions(job.header, 1)
        encrypt, decrypt = await self._pool.run(
            tasks.MeasureKey(job.secret.reveal_secret(), one, np.zeros(one.layout.columns, np.int64))
        )
        product = decrypt / (_PRODUCTS_OF_A_DECRYPTION * self._bits)
        products = job.stack.positions + sum(job.stack.products(one) for one in job.kernels)
        work = encrypt * job.stack.positions + decrypt * job.results + product * products
        seconds, limit = work / self._pool.processes, self._combinations.limit_seconds
        if seconds > limit:
            raise ResourceExhausted(
                f"{job.stack.positions} ciphertexts and {job.results} results would take paillier about "
                f"{math.ceil(seconds / 60)} minutes here, want at most {limit / 60:g}: a smaller picture or "
                "kernel, or bfv"
            )

    async def _rows(self, job: _Job, positions: Integers) -> AsyncIterator[bytes]:
        """Rows of the stack, encrypted a few ciphertexts at a time."""
        secret, account = job.secret.reveal_secret(), self.account
        work = (
            tasks.EncryptValues(
                secret, stacks.of_positions(job.header, len(part)), part.astype(np.int64).reshape(-1)
            )
            for part in _parts(positions)
        )
        row = job.row(job.stack.width).pack()
        size = stacks.row_bytes(job.header, job.stack.width) - HEADER.size
        numbers = bytearray()
        async with aclosing(self._pool.map(work)) as encrypted:
            async for part, seconds in encrypted:
                account.encrypt_seconds += seconds
                numbers += part
                while len(numbers) >= size:
                    account.sent_bytes += HEADER.size + size
                    account.ciphertexts += job.stack.width
                    yield row + bytes(numbers[:size])
                    del numbers[:size]

    async def _collected(
        self, job: _Job, answers: AsyncGenerator[PlanePart, None]
    ) -> AsyncIterator[Progress]:
        """Decrypts rows of results as they come."""
        account, done = self.account, 0
        account.round_trips += 1
        yield Progress(Stage.COMPUTE, done, job.results)
        works = self._works(job, answers)
        async with aclosing(answers), aclosing(in_order(works, self._pool.at_once)) as made:
            async for row in made:
                done += row
                yield Progress(Stage.COMPUTE, done, job.results)
        account.results += done
        if done != job.results:
            raise DataLoss(f"the evaluator answered with {done} results, want {job.results}")

    async def _works(
        self, job: _Job, answers: AsyncGenerator[PlanePart, None]
    ) -> AsyncIterator[Coroutine[Any, Any, int]]:
        """Rows in the order in which they must come."""
        following = [0] * len(job.kernels)
        async for part in answers:
            if isinstance(part, PlaneSummary):
                self.account.compute_seconds += part.compute_seconds
            elif isinstance(part, PlanePlan):
                if part.ciphertexts != job.stack.results:
                    raise DataLoss(
                        f"the evaluator plans {part.ciphertexts} results, want {job.stack.results}"
                    )
            else:
                with answer_of("the evaluator"):
                    job.check(part, following)
                following[part.kernel] += job.stack.inner_width
                self.account.received_bytes += len(part.block)
                yield self._decrypted(job, part)

    async def _decrypted(self, job: _Job, part: PlaneResult) -> int:
        """Decrypts a row of results to where it belongs; how many they are."""
        size, slots, width = job.header.number_bytes, job.header.layout.per_ciphertext, job.stack.inner_width
        row = part.first // width
        header = blocks_wire.parse_header(part.block)
        for start in range(0, width, _AT_ONCE):
            stop = min(start + _AT_ONCE, width)
            numbers = part.block[HEADER.size + start * size : HEADER.size + stop * size]
            with answer_of("the evaluator"):
                values, seconds = await self._pool.timed(
                    tasks.DecryptValues(job.secret.reveal_secret(), header, (stop - start) * slots, numbers)
                )
            self.account.decrypt_seconds += seconds
            job.values[part.kernel, row, start:stop] = values.reshape(-1, slots)[:, : job.blocks.count]
        return width

    def _fill(self, made: Combination) -> None:
        account = self.account
        account.key_bits = made.key_bits
        account.round_trips = 1
        account.ciphertexts, account.results = 2 * made.ciphertexts, made.ciphertexts
        account.sent_bytes, account.received_bytes = made.sent_bytes, made.received_bytes
        account.encrypt_seconds = made.timings.encrypt
        account.compute_seconds = made.timings.compute
        account.decrypt_seconds = made.timings.decrypt
        names = ("a", "b", "result")
        account.views = {
            name: np.frombuffer(sample, np.uint8) for name, sample in zip(names, made.samples, strict=False)
        }


class _Job:
    """One round trip.

    Attributes:
        stack: positions of the blocks.
        values: of the results, int32 [kernels, inner rows, inner columns, blocks].
    """

    def __init__(
        self,
        key: AdditivePublicKey,
        secret: Secret,
        header: AdditiveHeader,
        blocks: Blocks,
        kernels: Sequence[PlaneKernel],
    ) -> None:
        self.secret, self.header, self.blocks, self.kernels = secret, header, blocks, kernels
        self.stack = Stack(*blocks.outer, blocks.halo)
        self.source = StackedPlanes(key, self.row(self.stack.width), self.stack)
        shape = len(kernels), blocks.inner_height, blocks.inner_width, blocks.count
        self.values: Values = np.empty(shape, np.int32)

    @property
    def results(self) -> int:
        """Ciphertexts that come back."""
        return self.stack.results * len(self.kernels)

    def positions(self, padded: Integers) -> Integers:
        """Planes with what lies beyond their border as [positions, slots]; slots without a block are 0."""
        cut = self.blocks.cut(padded).reshape(-1, self.blocks.count)
        filled = np.zeros((len(cut), self.header.layout.per_ciphertext), cut.dtype)
        filled[:, : self.blocks.count] = cut
        return filled

    def row(self, positions: int, growth: int = 1) -> AdditiveHeader:
        """The header of so many positions."""
        return stacks.of_positions(self.header, positions, growth)

    def check(self, part: PlaneResult, following: list[int]) -> None:
        """Refuses anything but the next row of a result; its numbers are looked at where it is decrypted."""
        if not 0 <= part.kernel < len(following) or part.first != following[part.kernel]:
            raise DataLoss("the evaluator answered with results in another order")
        if part.first >= self.stack.results:
            raise DataLoss("the evaluator answered with too many results")
        growth = stacks.growth(self.kernels[part.kernel], _VALUE_BITS)
        width = self.stack.inner_width
        wanted = self.row(width, growth)
        if (
            len(part.block) != stacks.row_bytes(wanted, width)
            or blocks_wire.parse_header(part.block) != wanted
        ):
            raise DataLoss("the evaluator answered with another row than was asked for")


def _parts(positions: Integers) -> Iterator[Integers]:
    for start in range(0, len(positions), _AT_ONCE):
        yield positions[start : start + _AT_ONCE]
