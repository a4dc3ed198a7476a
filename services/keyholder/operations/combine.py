"""Weighted sums of pictures and integer arrays, each under its own key, which is forgotten afterwards."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np

from blindsight.additive import lightphe, schemes
from blindsight.additive.block import (
    HEADER,
    AdditiveHeader,
    block_bytes,
    fresh_header,
    parse_header,
    weighted_header,
)
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.layout import MOST_RESULT_BITS, Integers
from blindsight.additive.schemes import SCHEMES, AdditiveScheme
from blindsight.errors import DataLoss, InvalidArgument, ResourceExhausted
from blindsight.runtime.processpool import WorkerPool
from blindsight.runtime.transfer import MAX_COMBINE_BYTES, answer_of
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto import tasks
from blindsight.trusted.imaging.images import Colours
from blindsight.trusted.secrets import Secret
from blindsight.wire.combine import CombineProgress, CombineStage, CombineTimings
from services.keyholder import metrics
from services.keyholder.operations.naming import of_photo

MAX_INPUTS = 16
# Values of one input: those of a picture of 1,182 x 1,182 pixels in colour.
MAX_VALUES = 1 << 22
# LightPHE's algorithms take up to a tenth of a second for one value.
MAX_LIGHTPHE_VALUES = 1 << 16
# Values are announced with at least the bits of a pixel, so only the size of larger ones is revealed.
LEAST_VALUE_BITS = 8
# Ciphertexts that a worker process encrypts or decrypts at once; other work waits for no more than that.
_AT_ONCE, _LIGHTPHE_AT_ONCE = 16, 4
# Numbers of at most this size are plain values, as under scramble: eight bytes hold any value.
_FEW_BYTES = 8
# With fewer ciphertexts, an estimate takes longer than it is worth.
_ESTIMATE_FROM = 64

# A picture's file, or integers of any shape.
Input = bytes | Integers


@dataclass(frozen=True, slots=True)
class CombineSettings:
    """Settings of a weighted sum.

    Attributes:
        scheme: the additive scheme.
        key_bits: size of the key; None for the scheme's default.
        weights: one for each input; empty for weights of 1.
        colours: the colours in which pictures are read.
        insecure_small_keys: allows LightPHE's algorithms to have keys that anybody can break.
        sample_bytes: bytes of each block of ciphertexts that are kept to be shown.

    Raises:
        InvalidArgument: if the scheme cannot compute this for any inputs.
    """

    scheme: AdditiveScheme
    key_bits: int | None = None
    weights: tuple[int, ...] = ()
    colours: Colours = Colours.AS_THEY_ARE
    insecure_small_keys: bool = False
    sample_bytes: int = 0

    def __post_init__(self) -> None:
        schemes.require(self.scheme, schemes.operation_of(self.weights))
        schemes.key_bits(self.scheme, self.key_bits, insecure_small_keys=self.insecure_small_keys)
        lightphe.require_installed(self.scheme)
        schemes.require_room(self.scheme, LEAST_VALUE_BITS, guard_bits(self.weights))

    @property
    def bits(self) -> int:
        """Size of the key."""
        return schemes.key_bits(self.scheme, self.key_bits, insecure_small_keys=self.insecure_small_keys)


@dataclass(frozen=True, slots=True)
class Combination:
    """A weighted sum, and how it was computed.

    Attributes:
        values: the sum, in the inputs' shape.
        key_bits: size of the key that was used.
        weights: one for each input.
        ciphertexts: number of ciphertexts of one input.
        sent_bytes, received_bytes: bytes of ciphertext, to and from the evaluator.
        samples: the first bytes of each input's ciphertexts and of the result's, as many as were wanted.
    """

    values: Integers
    scheme: AdditiveScheme
    key_bits: int
    weights: tuple[int, ...]
    ciphertexts: int
    sent_bytes: int
    received_bytes: int
    timings: CombineTimings
    samples: tuple[bytes, ...] = ()

    @property
    def warning(self) -> str:
        """A sentence that users must be shown; empty if there is none."""
        return schemes.warning(self.scheme, self.key_bits)


def guard_bits(weights: Sequence[int]) -> int:
    """Returns how many bits the weights can add to those of the values.

    Raises:
        InvalidArgument: if no result could hold them.
    """
    growth = sum(map(abs, weights))
    if growth >= 1 << (MOST_RESULT_BITS - LEAST_VALUE_BITS):
        raise InvalidArgument(
            f"weights would overflow: their magnitudes sum to {growth}, "
            f"want less than 2^{MOST_RESULT_BITS - LEAST_VALUE_BITS}"
        )
    return max(growth - 1, 0).bit_length()


def value_bits(arrays: Sequence[Integers]) -> int:
    """Returns the bits that hold the magnitude of every value, at least those of a pixel."""
    largest = max(max(int(array.max()), -int(array.min())) for array in arrays)
    return max(LEAST_VALUE_BITS, largest.bit_length())


def check_shapes(shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuses inputs of different shapes.

    Raises:
        InvalidArgument: if two differ; it names both shapes.
    """
    for number, shape in enumerate(shapes, 1):
        if shape != shapes[0]:
            raise InvalidArgument(
                f"input {number} has shape {_shown(shape)}, input 1 has {_shown(shapes[0])}: want the same"
            )


class Combine:
    """The operation that computes weighted sums of pictures and arrays.

    Args:
        evaluator: computes on ciphertexts.
        pool: worker processes that encrypt and decrypt.
        decoders: worker processes that decode pictures.
        limit_seconds: sums that would take longer, by an estimate, are refused.
    """

    limit_seconds: float

    def __init__(
        self, evaluator: EvaluatorClient, pool: WorkerPool, decoders: WorkerPool, limit_seconds: float
    ) -> None:
        self._evaluator = evaluator
        self._pool = pool
        self._decoders = decoders
        self.limit_seconds = limit_seconds

    async def run(
        self, settings: CombineSettings, inputs: Sequence[Input]
    ) -> AsyncIterator[CombineProgress | Combination]:
        """Yields progress, and the sum last.

        Raises:
            InvalidArgument: if the inputs have different shapes, their number does not fit the weights, or a
                result could overflow.
            InvalidImage: if a picture is not a decodable image.
            ResourceExhausted: if the inputs are too large, or the sum would take too long.
            DataLoss: if the evaluator's answer is not what was asked for.
            Unavailable: if the evaluator does not answer, or a worker process died.
        """
        weights = settings.weights or (1,) * len(inputs)
        _check_count(inputs, weights)
        arrays = await self._arrays(settings, inputs)
        bits = value_bits(arrays), guard_bits(weights)
        _check_room(settings, *bits)
        job = _Job(settings, weights, [array.ravel() for array in arrays])
        for stage in (self._keygen(job, *bits), self._encrypt(job), self._compute(job), self._decrypt(job)):
            async with aclosing(stage):
                async for progress in stage:
                    yield progress
        yield job.combination(arrays[0].shape)

    async def _arrays(self, settings: CombineSettings, inputs: Sequence[Input]) -> list[Integers]:
        """Decodes pictures; returns all inputs as integers of the same shape."""
        colours = settings.colours
        given = [one for one in inputs if isinstance(one, bytes)]
        decoded = []
        for number, one in enumerate(given):
            with of_photo(number):
                decoded.append(await self._decoders.run(tasks.DecodeImage(one, colours)))
        flat = colours is Colours.AS_THEY_ARE and all(grey for _, grey in decoded)
        pictures = iter([picture[..., 0] if flat else picture for picture, _ in decoded])
        arrays = [next(pictures).astype(np.int64) if isinstance(one, bytes) else one for one in inputs]
        check_shapes([array.shape for array in arrays])
        most = MAX_LIGHTPHE_VALUES if SCHEMES[settings.scheme].algorithm else MAX_VALUES
        if not 1 <= arrays[0].size <= most:
            raise ResourceExhausted(
                f"{arrays[0].size} values in an input, want 1 to {most} under {SCHEMES[settings.scheme].name}"
            )
        return arrays

    async def _keygen(
        self, job: _Job, value_bits: int, guard_bits: int
    ) -> AsyncGenerator[CombineProgress, None]:
        yield CombineProgress("keygen", 0, 1)
        started = time.perf_counter()
        settings = job.settings
        with metrics.COMBINE_KEYGEN_SECONDS.labels(job.scheme_name).time():
            public, secret = await self._pool.run(
                tasks.GenerateKey(settings.scheme, settings.bits, settings.insecure_small_keys)
            )
        job.secret = Secret(secret)
        job.public_key = AdditivePublicKey.from_bytes(
            public, insecure_small_keys=settings.insecure_small_keys
        )
        job.header = fresh_header(job.public_key, (1, len(job.values[0])), value_bits, guard_bits)
        job.spent("keygen", started)
        _check_sent(job)
        await self._check_time(job)
        yield CombineProgress("keygen", 1, 1)

    async def _check_time(self, job: _Job) -> None:
        """Refuses a sum that would take too long, by a measurement of one ciphertext."""
        count, inputs = job.header.layout.count, len(job.values)
        if count * inputs < _ESTIMATE_FROM or job.settings.scheme is AdditiveScheme.SCRAMBLE:
            return
        encrypt, decrypt = await self._pool.run(
            tasks.MeasureKey(job.secret.reveal_secret(), job.header, job.values[0])
        )
        seconds = count * (inputs * encrypt + decrypt) / self._pool.processes
        if seconds > self.limit_seconds:
            raise ResourceExhausted(
                f"{count} ciphertexts for each of {inputs} inputs would take {job.scheme_name} about "
                f"{math.ceil(seconds / 60)} minutes here, want at most {self.limit_seconds / 60:g}: "
                "smaller inputs, or paillier"
            )

    async def _encrypt(self, job: _Job) -> AsyncGenerator[CombineProgress, None]:
        total, done = job.header.layout.count * len(job.values), 0
        started = time.perf_counter()
        for values in job.values:
            parts = [job.header.pack()]
            secret = job.secret.reveal_secret()
            work = (tasks.EncryptValues(secret, job.header, values[columns]) for columns in job.slices())
            with metrics.COMBINE_ENCRYPT_SECONDS.labels(job.scheme_name).time():
                async with aclosing(self._pool.map(work)) as encrypted:
                    async for numbers, _ in encrypted:
                        parts.append(numbers)
                        done += len(numbers) // job.ciphertext_bytes
                        yield CombineProgress("encrypt", done, total)
            job.blocks.append(b"".join(parts))
        job.spent("encrypt", started)

    async def _compute(self, job: _Job) -> AsyncGenerator[CombineProgress, None]:
        total = job.header.layout.count
        yield CombineProgress("compute", 0, total)
        started = time.perf_counter()
        wanted = weighted_header([job.header] * len(job.blocks), job.weights)
        size = block_bytes(wanted, job.public_key)
        answers = self._evaluator.combine(
            job.public_key, job.weights, job.blocks, insecure_small_keys=job.settings.insecure_small_keys
        )
        async with aclosing(answers):
            async for chunk in answers:
                job.result += chunk
                if len(job.result) > size:
                    break
                done = max(0, len(job.result) - HEADER.size) // job.ciphertext_bytes
                yield CombineProgress("compute", done, total)
        with answer_of("the evaluator"):
            if len(job.result) != size or parse_header(job.result) != wanted:
                raise DataLoss("the evaluator answered with another block than was asked for")
        job.sent_bytes = sum(map(len, job.blocks))
        job.samples = (*map(job.sample, job.blocks), job.sample(job.result))
        job.blocks.clear()
        job.header = wanted
        job.spent("compute", started)

    async def _decrypt(self, job: _Job) -> AsyncGenerator[CombineProgress, None]:
        total, done = job.header.layout.count, 0
        started = time.perf_counter()
        secret = job.secret.reveal_secret()
        work = (
            tasks.DecryptValues(secret, job.header, columns.stop - columns.start, job.numbers(columns))
            for columns in job.slices()
        )
        with metrics.COMBINE_DECRYPT_SECONDS.labels(job.scheme_name).time(), answer_of("the evaluator"):
            async with aclosing(self._pool.map(work)) as decrypted:
                async for part, _ in decrypted:
                    job.decrypted.append(part)
                    done += -(-len(part) // job.header.layout.per_ciphertext)
                    yield CombineProgress("decrypt", done, total)
        if not await asyncio.to_thread(job.is_right):
            raise DataLoss("the evaluator computed something else than the weighted sum of what was sent")
        job.spent("decrypt", started)


@dataclass(slots=True, repr=False)
class _Job:
    """The state of one weighted sum."""

    settings: CombineSettings
    weights: tuple[int, ...]
    values: list[Integers]
    secret: Secret = field(init=False)
    public_key: AdditivePublicKey = field(init=False)
    header: AdditiveHeader = field(init=False)
    blocks: list[bytes] = field(default_factory=list)
    result: bytearray = field(default_factory=bytearray)
    decrypted: list[Integers] = field(default_factory=list)
    sent_bytes: int = 0
    samples: tuple[bytes, ...] = ()
    timings: CombineTimings = field(default_factory=CombineTimings)

    def spent(self, stage: CombineStage, started: float) -> None:
        """Records the time of a stage that is over."""
        seconds = time.perf_counter() - started
        self.timings = replace(self.timings, **{f"{stage}_seconds": seconds})

    @property
    def scheme_name(self) -> str:
        return SCHEMES[self.settings.scheme].name

    @property
    def ciphertext_bytes(self) -> int:
        return self.header.number_bytes * self.public_key.group.components

    def slices(self) -> Iterator[slice]:
        """Yields columns of whole ciphertexts; all at once under scramble, which permutes all values."""
        columns = self.header.layout.columns
        step = columns
        if self.settings.scheme is not AdditiveScheme.SCRAMBLE:
            at_once = _LIGHTPHE_AT_ONCE if SCHEMES[self.settings.scheme].algorithm else _AT_ONCE
            step = self.header.layout.per_ciphertext * at_once
        for start in range(0, columns, step):
            yield slice(start, min(start + step, columns))

    def sample(self, block: bytes | bytearray) -> bytes:
        """Returns the first bytes of a block; of small numbers, as under scramble, the first byte each."""
        size, count = self.header.number_bytes, self.settings.sample_bytes
        step = size if size <= _FEW_BYTES else 1
        return bytes(block[HEADER.size : HEADER.size + step * count : step])

    def numbers(self, columns: slice) -> bytes:
        """Returns the result's ciphertexts for these columns."""
        per_ciphertext = self.header.layout.per_ciphertext
        first, last = columns.start // per_ciphertext, -(-columns.stop // per_ciphertext)
        size = self.ciphertext_bytes
        return bytes(self.result[HEADER.size + first * size : HEADER.size + last * size])

    def is_right(self) -> bool:
        """Returns whether the sum is that of the inputs.

        All of it is compared: to add up the inputs in the clear takes less than to check any ciphertext, and
        what a scheme cannot detect, such as a sum of other ciphertexts, cannot pass.
        """
        wanted = np.zeros_like(self.values[0])
        for weight, values in zip(self.weights, self.values, strict=True):
            wanted += weight * values  # as `_check_room` says, within 62 bits
        return np.array_equal(np.concatenate(self.decrypted), wanted)

    def combination(self, shape: tuple[int, ...]) -> Combination:
        return Combination(
            values=np.concatenate(self.decrypted).reshape(shape),
            scheme=self.settings.scheme,
            key_bits=self.public_key.bits,
            weights=self.weights,
            ciphertexts=self.header.layout.count,
            sent_bytes=self.sent_bytes,
            received_bytes=len(self.result),
            timings=self.timings,
            samples=self.samples,
        )


def _check_count(inputs: Sequence[Input], weights: Sequence[int]) -> None:
    if not 2 <= len(inputs) <= MAX_INPUTS:
        raise InvalidArgument(f"{len(inputs)} inputs, want 2 to {MAX_INPUTS}")
    if len(weights) != len(inputs):
        raise InvalidArgument(f"{len(weights)} weights for {len(inputs)} inputs, want as many")


def _check_room(settings: CombineSettings, value_bits: int, guard_bits: int) -> None:
    schemes.require_room(settings.scheme, value_bits, guard_bits)
    if value_bits + guard_bits > MOST_RESULT_BITS:
        raise InvalidArgument(
            f"values of {value_bits} bits with weights that add {guard_bits} would overflow: "
            f"want at most {MOST_RESULT_BITS} bits"
        )


def _check_sent(job: _Job) -> None:
    size = block_bytes(job.header, job.public_key) * len(job.values)
    if size > MAX_COMBINE_BYTES:
        raise ResourceExhausted(
            f"ciphertexts of {size} bytes, want at most {MAX_COMBINE_BYTES}: fewer or smaller inputs"
        )


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
