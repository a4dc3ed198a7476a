"""Paillier: filters of pictures whose blocks share ciphertexts, and differences as weighted sums.

`blindsight.additive.planes` describes how a picture is packed into ciphertexts.  Each round trip has its own
key, which is forgotten afterwards.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from blindsight.additive import block, layout, schemes
from blindsight.additive.block import HEADER, AdditiveHeader
from blindsight.additive.keys import AdditivePublicKey, paillier_message_bits
from blindsight.additive.planes import (
    MAX_POSITIONS,
    MAX_ROW_BYTES,
    PlaneShape,
    growth,
    guard_bits,
    of_positions,
    row_bytes,
)
from blindsight.additive.schemes import SCHEMES, AdditiveScheme
from blindsight.errors import DataLoss, InvalidCiphertext, ResourceExhausted
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import Integers
from blindsight.runtime.processpool import WorkerPool, in_order
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto import tasks
from blindsight.trusted.imaging import block_checks
from blindsight.trusted.imaging.blocks import Blocks, arrange
from blindsight.trusted.imaging.quantising import Room
from blindsight.trusted.secrets import Secret
from blindsight.wire.planes import PaillierPlanes, PlanePart, PlanePlan, PlaneResult, PlaneSummary
from services.keyholder.imaging.engine import Account, Progress, Shape, Stage, Transformed, Values
from services.keyholder.operations.combine import Combination, Combine, CombineSettings

# Pixels are bytes.
_VALUE_BITS = 8
# Ciphertexts that a worker process encrypts or decrypts at once; other work waits for no more than that.
_AT_ONCE = 16
# Measured: for each bit of n, a decryption takes as long as this many products modulo n^2.
_PRODUCTS_OF_A_DECRYPTION = 0.31
# Error in grey levels that is good enough: every bit of a weight leaves fewer slots in a ciphertext.
_ENOUGH = 0.1
# Measured memory of the keyholder for a value; see `PlaneScheme.value_bytes`.
_POSITION_BYTES = 24
# Results are kept as signed integers of 32 bits.
_MOST_RESULT = 1 << 30


@dataclass(frozen=True)
class BlockTrip:
    """A round trip of planes that are cut into blocks, one block for each slot of a ciphertext.

    Attributes:
        blocks: how the planes are cut.
        slots: the slots of a ciphertext, and how many bits they have for results.
        kernels: each gives a result at every position of a block without its halo.
    """

    blocks: Blocks
    slots: layout.Layout
    kernels: tuple[PlaneKernel, ...]

    @cached_property
    def shape(self) -> PlaneShape:
        """The size of the blocks in positions."""
        return PlaneShape(*self.blocks.outer, self.blocks.halo)

    @property
    def ciphertexts(self) -> int:
        """Number of ciphertexts that are sent."""
        return self.shape.positions

    @property
    def results(self) -> int:
        """Number of ciphertexts that come back."""
        return self.shape.results * len(self.kernels)

    def seconds(self, bits: int, encrypt: float, decrypt: float) -> float:
        """Estimates the seconds of work of all processors together.

        Args:
            bits: size of the key.
            encrypt, decrypt: seconds for one ciphertext.
        """
        product = decrypt / (_PRODUCTS_OF_A_DECRYPTION * bits)
        products = self.ciphertexts + sum(self.shape.products(one) for one in self.kernels)
        return encrypt * self.ciphertexts + decrypt * self.results + product * products


@dataclass(frozen=True, slots=True)
class AdditivePlanes:
    """An additive scheme for planning jobs; implements `PlaneScheme`.

    Attributes:
        scheme: paillier, or scramble, which can only subtract.
        bits: size of the key.
    """

    scheme: AdditiveScheme
    bits: int

    @classmethod
    def of(cls, scheme: AdditiveScheme, key_bits: int | None) -> AdditivePlanes:
        """Returns a scheme with a key of this size; None for the scheme's default.

        Raises:
            InvalidArgument: if the scheme has no keys of that size.
        """
        return cls(scheme, schemes.key_bits(scheme, key_bits))

    @property
    def name(self) -> str:
        """The scheme's name."""
        return SCHEMES[self.scheme].name

    @property
    def parameter_set(self) -> str:
        """Always empty: a key is generated for every job."""
        return ""

    @property
    def room(self) -> Room:
        """Limits that results must stay within."""
        return Room(self.name, _MOST_RESULT, enough=_ENOUGH)

    @property
    def value_bytes(self) -> int:
        """Memory in bytes for one value of the padded blocks, and of the same in the order of encryption."""
        return _POSITION_BYTES

    def trip(self, shape: Shape, reach: int, kernels: Sequence[PlaneKernel]) -> BlockTrip:
        """Implements `PlaneScheme.trip`, for a key whose modulus has exactly `bits` bits."""
        schemes.require(self.scheme, schemes.Operation.WEIGHTED_SUM)
        slots = layout.plan(
            (1, layout.MOST_PER_CIPHERTEXT),
            paillier_message_bits(self.bits),
            _VALUE_BITS,
            guard_bits(kernels, _VALUE_BITS),
        )
        number_bytes = -(-2 * self.bits // 8)

        def fits(blocks: Blocks) -> bool:
            rows, columns = blocks.outer
            size = HEADER.size + columns * number_bytes
            return rows * columns * len(kernels) <= MAX_POSITIONS and size <= MAX_ROW_BYTES

        blocks = arrange(shape, reach, slots.per_ciphertext, len(kernels), fits)
        return BlockTrip(blocks, slots, tuple(kernels))


class AdditiveEngine:
    """The engine that runs one job under an additive scheme; implements `PlaneEngine`.

    Args:
        planes: the scheme, and the size of its keys.
        evaluator: client of the evaluator.
        pool: worker processes that encrypt and decrypt.
        combinations: computes differences; its time limit is also that of filters.
        view_pixels: pixels of each picture of what the evaluator sees of a difference; 0 for no pictures.
    """

    def __init__(
        self,
        planes: AdditivePlanes,
        evaluator: EvaluatorClient,
        pool: WorkerPool,
        combinations: Combine,
        view_pixels: int = 0,
    ) -> None:
        self._scheme, self._bits = planes.scheme, planes.bits
        self._evaluator = evaluator
        self._pool = pool
        self._combinations = combinations
        self._view_pixels = view_pixels
        info = SCHEMES[self._scheme]
        warning = schemes.warning(self._scheme, self._bits)
        self.account = Account(info.name, key_bits=self._bits, description=info.description, warning=warning)

    async def transform(
        self, trip: BlockTrip, padded: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Implements `PlaneEngine.transform`; estimates the time after it generated a key."""
        yield Progress(Stage.KEYGEN, 0, 1)
        task = tasks.GenerateKey(self._scheme, self._bits, insecure_small_keys=False)
        public, secret = await self._pool.run(task)
        job = _Job(trip, AdditivePublicKey.from_bytes(public), Secret(secret))
        await self._check_time(job)
        yield Progress(Stage.KEYGEN, 1, 1)
        positions = await asyncio.to_thread(job.positions, padded)
        answers = self._evaluator.transform(job.source, trip.kernels, partial(self._rows, job, positions))
        async for progress in self._collected(job, answers):
            yield progress
        if job.unreadable or not await asyncio.to_thread(job.passes, positions):
            raise DataLoss("the evaluator answered with something else than the results for these planes")
        yield Transformed(np.stack([trip.blocks.join(one) for one in job.values]))

    async def difference(
        self, minuend: Integers, subtrahend: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Implements `PlaneEngine.difference` by a weighted sum of two arrays."""
        bits = None if SCHEMES[self._scheme].fixed_bits else self._bits
        settings = CombineSettings(self._scheme, bits, weights=(1, -1), sample_bytes=self._view_pixels)
        sums = self._combinations.run(settings, [one.astype(np.int64) for one in (minuend, subtrahend)])
        async for answer in sums:
            if isinstance(answer, Combination):
                self._fill(answer)
                yield Transformed(answer.values.astype(np.int32)[None])
            else:
                yield Progress(Stage(answer.stage), answer.done, answer.total)

    async def _check_time(self, job: _Job) -> None:
        """Refuses a job that would take too long, by a measurement of one ciphertext."""
        one = of_positions(job.header, 1)
        encrypt, decrypt = await self._pool.run(
            tasks.MeasureKey(job.secret.reveal_secret(), one, np.zeros(one.layout.columns, np.int64))
        )
        trip, limit = job.trip, self._combinations.limit_seconds
        seconds = trip.seconds(self._bits, encrypt, decrypt) / self._pool.processes
        if seconds > limit:
            raise ResourceExhausted(
                f"{trip.ciphertexts} ciphertexts and {trip.results} results would take paillier about "
                f"{math.ceil(seconds / 60)} minutes here, want at most {limit / 60:g}: a smaller picture or "
                "kernel, or bfv"
            )

    async def _rows(self, job: _Job, positions: Integers) -> AsyncIterator[bytes]:
        """Yields the rows of the planes, encrypted a few ciphertexts at a time."""
        secret, account = job.secret.reveal_secret(), self.account
        work = (
            tasks.EncryptValues(
                secret, of_positions(job.header, len(part)), part.astype(np.int64).reshape(-1)
            )
            for part in _parts(positions)
        )
        row = job.row(job.shape.width).pack()
        size = row_bytes(job.header, job.shape.width) - HEADER.size
        numbers = bytearray()
        async with aclosing(self._pool.map(work)) as encrypted:
            async for part, seconds in encrypted:
                account.encrypt_seconds += seconds
                numbers += part
                while len(numbers) >= size:
                    account.sent_bytes += HEADER.size + size
                    account.ciphertexts += job.shape.width
                    yield row + bytes(numbers[:size])
                    del numbers[:size]

    async def _collected(
        self, job: _Job, answers: AsyncGenerator[PlanePart, None]
    ) -> AsyncIterator[Progress]:
        """Decrypts rows of results as they come, and yields progress."""
        account, done = self.account, 0
        account.round_trips += 1
        total = job.trip.results
        yield Progress(Stage.COMPUTE, done, total)
        works = self._works(job, answers)
        async with aclosing(answers), aclosing(in_order(works, self._pool.at_once)) as made:
            async for row in made:
                done = done + row if row else 0
                yield Progress(Stage.COMPUTE, done, total)
        account.results += done
        if done != total:
            raise DataLoss(f"the evaluator answered with {done} results, want {total}")

    async def _works(
        self, job: _Job, answers: AsyncGenerator[PlanePart, None]
    ) -> AsyncIterator[Coroutine[Any, Any, int]]:
        """Yields the decryption of each row, after a check that rows come in order.

        A plan, also one after a lost connection, gives 0 results: they come from the first on.
        """
        following = [0] * len(job.trip.kernels)
        async for part in answers:
            if isinstance(part, PlaneSummary):
                self.account.compute_seconds += part.compute_seconds
            elif isinstance(part, PlanePlan):
                if part.ciphertexts != job.shape.results:
                    raise DataLoss(
                        f"the evaluator plans {part.ciphertexts} results, want {job.shape.results}"
                    )
                following = [0] * len(job.trip.kernels)
                yield _nothing()
            else:
                with answer_of("the evaluator"):
                    job.check(part, following)
                following[part.kernel] += job.shape.inner_width
                self.account.received_bytes += len(part.block)
                yield self._decrypted(job, part)

    async def _decrypted(self, job: _Job, part: PlaneResult) -> int:
        """Decrypts a row of results into its place in the job; returns how many there are."""
        size, slots, width = job.header.number_bytes, job.header.layout.per_ciphertext, job.shape.inner_width
        row = part.first // width
        header = block.parse_header(part.block)
        for start in range(0, width, _AT_ONCE):
            stop = min(start + _AT_ONCE, width)
            numbers = part.block[HEADER.size + start * size : HEADER.size + stop * size]
            task = tasks.DecryptValues(job.secret.reveal_secret(), header, (stop - start) * slots, numbers)
            try:
                values, seconds = await self._pool.timed(task)
            except InvalidCiphertext:
                # Refused at the end like any other lie: when it is tells nothing of what a message holds.
                job.unreadable = True
                continue
            self.account.decrypt_seconds += seconds
            job.values[part.kernel, row, start:stop] = values.reshape(-1, slots)[:, : job.trip.blocks.count]
        return width

    def _fill(self, made: Combination) -> None:
        account = self.account
        account.key_bits = made.key_bits
        account.round_trips = 1
        account.ciphertexts, account.results = 2 * made.ciphertexts, made.ciphertexts
        account.sent_bytes, account.received_bytes = made.sent_bytes, made.received_bytes
        account.encrypt_seconds = made.timings.encrypt_seconds
        account.compute_seconds = made.timings.compute_seconds
        account.decrypt_seconds = made.timings.decrypt_seconds
        names = ("a", "b", "result")
        account.views = {
            name: np.frombuffer(sample, np.uint8) for name, sample in zip(names, made.samples, strict=False)
        }


class _Job:
    """The state of one round trip under its own key.

    Attributes:
        shape: the size of the blocks in positions.
        header: header of ciphertexts under the key.
        values: decrypted results, int32 [kernels, inner rows, inner columns, blocks].
        unreadable: whether a result decrypted to something that no result can be.
    """

    def __init__(self, trip: BlockTrip, key: AdditivePublicKey, secret: Secret) -> None:
        self.trip, self.secret, self.shape = trip, secret, trip.shape
        number_bytes = block.number_bytes(key, trip.slots)
        self.header = AdditiveHeader(key.scheme, key.key_id, trip.slots, number_bytes)
        head, planes = self.row(trip.shape.width).pack(), trip.shape
        self.source = PaillierPlanes(key.to_bytes(), head, planes.height, planes.width, planes.halo)
        blocks = trip.blocks
        shape = len(trip.kernels), blocks.inner_height, blocks.inner_width, blocks.count
        self.values: Values = np.empty(shape, np.int32)
        self.unreadable = False

    def positions(self, padded: Integers) -> Integers:
        """Arranges padded planes as [positions, slots]; slots without a block are 0."""
        count = self.trip.blocks.count
        cut = self.trip.blocks.cut(padded).reshape(-1, count)
        filled = np.zeros((len(cut), self.header.layout.per_ciphertext), cut.dtype)
        filled[:, :count] = cut
        return filled

    def passes(self, positions: Integers) -> bool:
        """Returns whether all results are those for the blocks in these positions."""
        shape, count = self.shape, self.trip.blocks.count
        blocks = positions.reshape(shape.height, shape.width, -1)[..., :count]
        made = zip(self.trip.kernels, self.values, strict=True)
        return all(block_checks.passes(shape, kernel, blocks, results) for kernel, results in made)

    def row(self, positions: int, growth: int = 1) -> AdditiveHeader:
        """Returns the header of this many positions."""
        return of_positions(self.header, positions, growth)

    def check(self, part: PlaneResult, following: list[int]) -> None:
        """Refuses anything but the next row of a result; its numbers are checked at decryption."""
        if not 0 <= part.kernel < len(following) or part.first != following[part.kernel]:
            raise DataLoss("the evaluator answered with results in another order")
        if part.first >= self.shape.results:
            raise DataLoss("the evaluator answered with too many results")
        width = self.shape.inner_width
        wanted = self.row(width, growth(self.trip.kernels[part.kernel], _VALUE_BITS))
        if len(part.block) != row_bytes(wanted, width) or block.parse_header(part.block) != wanted:
            raise DataLoss("the evaluator answered with another row than was asked for")


async def _nothing() -> int:
    return 0


def _parts(positions: Integers) -> Iterator[Integers]:
    for start in range(0, len(positions), _AT_ONCE):
        yield positions[start : start + _AT_ONCE]
