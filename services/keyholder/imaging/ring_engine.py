"""BFV and CKKS: tiles are sent as they are encrypted, results are decrypted as they come.

A tile's ciphertext times a kernel of integers is one product of polynomials: docs/imaging.md has the algebra.
Differences need no tiles, only as many values in the same order: each coefficient holds three bytes as digits
of base 512, in which any difference of two bytes fits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.header import HEADER, BlockHeader, Form, parse_header
from blindsight.errors import DataLoss, InvalidArgument
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.packing.scale_space import ScaleImage
from blindsight.packing.tiling import BLOCK_CIPHERTEXTS
from blindsight.parameters import BOUND_SIGMAS, ENCODING_NOISE, FRESH_NOISE, ParameterSet, Scheme
from blindsight.runtime.processpool import in_order
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.clients import Blocks, EvaluatorClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging.quantising import Room
from blindsight.wire.planes import (
    PlanePart,
    PlanePlan,
    PlaneResult,
    PlaneSource,
    PlaneSummary,
    SentPlanes,
    StoredPlanes,
)
from services.keyholder.imaging.engine import Account, Progress, Shape, Stage, Transformed, Values

# Bytes in a coefficient of a difference, and the base of its digits: differences of bytes are -255 to 255.
DIGITS, BASE = 3, 512
# Results are kept as signed integers of 32 bits.
_MOST_RESULT = 1 << 30
# The most pixels of a view: about those of a screen.
MAX_VIEW_PIXELS = 1 << 20

Decrypted = tuple[PlaneResult, npt.NDArray[np.int32], float]


def room(parameters: ParameterSet) -> Room:
    """Returns the limits of the messages of a parameter set.

    BFV decrypts exactly while the noise is below q / (2 t).  Here `BOUND_SIGMAS` standard deviations of the
    noise get half of that, q / (4 t); the far smaller rounding errors are left to the other half.
    """
    reach = (PlaneLayout(1, 1, 1, parameters.ring_degree).tile_height - 1) // 2
    if parameters.scheme is Scheme.BFV:
        most = parameters.modulus / (4 * parameters.plain_modulus) / (BOUND_SIGMAS * FRESH_NOISE)
        largest = min(parameters.plain_modulus // 2, _MOST_RESULT)
        return Room(parameters.name, largest, 0.0, most, reach, most_value=largest - 1)
    scale = parameters.gallery_scale
    noise = float(np.hypot(FRESH_NOISE, ENCODING_NOISE)) / scale
    largest = min(int(parameters.modulus / 2 / scale), _MOST_RESULT)
    return Room(parameters.name, largest, noise, most_reach=reach, most_value=largest - 1)


@dataclass(frozen=True, slots=True)
class TileTrip:
    """A round trip of planes that are cut into tiles.

    Attributes:
        planes: number of planes, which are cut alike; 1 for stored planes.
        layout: the tiles of each plane; for stored planes those of all.
        kernels: each gives a result for every tile.
    """

    planes: int
    layout: PlaneLayout
    kernels: tuple[PlaneKernel, ...]

    @property
    def per_tile(self) -> int:
        """Number of results for each tile."""
        return len(self.kernels)

    @property
    def ciphertexts(self) -> int:
        """Number of ciphertexts that are sent, or read from storage."""
        return self.planes * self.layout.ciphertexts

    @property
    def results(self) -> int:
        """Number of ciphertexts that come back."""
        return self.per_tile * self.ciphertexts


@dataclass(frozen=True, slots=True)
class ScaleTrip:
    """A round trip of one plane, with the kernels of images of a scale space, phase by phase.

    Attributes:
        layout: the tiles of the plane.
        images, phases: see `blindsight.packing.scale_space`.
    """

    layout: PlaneLayout
    images: tuple[ScaleImage, ...]
    phases: int
    planes: int = 1

    @property
    def per_tile(self) -> int:
        """Number of results for each tile."""
        return len(self.images) * self.phases**2

    @property
    def ciphertexts(self) -> int:
        """Number of ciphertexts that are sent, or read from storage."""
        return self.layout.ciphertexts

    @property
    def results(self) -> int:
        """Number of ciphertexts that come back."""
        return self.per_tile * self.ciphertexts


@dataclass(frozen=True, slots=True)
class RingScheme:
    """A ring scheme's parameter set for planning jobs; implements `PlaneScheme`."""

    parameters: ParameterSet

    @property
    def name(self) -> str:
        """The scheme's name."""
        return self.parameters.scheme.name.lower()

    @property
    def parameter_set(self) -> str:
        """Name of the parameter set of the owner's key."""
        return self.parameters.name

    @property
    def room(self) -> Room:
        """Limits that results must stay within."""
        return room(self.parameters)

    @property
    def value_bytes(self) -> int:
        """Always 0: the memory for tiles is part of the estimates of operations."""
        return 0

    def trip(self, shape: Shape, reach: int, kernels: Sequence[PlaneKernel]) -> TileTrip:
        """Implements `PlaneScheme.trip`."""
        planes, height, width = shape
        return TileTrip(planes, self.layout(height, width, reach), tuple(kernels))

    def layout(self, height: int, width: int, reach: int) -> PlaneLayout:
        """Returns the tiles of one plane, with a halo as wide as the filter's reach.

        Raises:
            InvalidArgument: if the halo does not fit into a tile.
        """
        try:
            return PlaneLayout(width, height, 1, self.parameters.ring_degree, reach)
        except InvalidArgument as error:
            raise InvalidArgument(f"{error.message} (the halo is how far the filter reaches)") from None


class RingEngine:
    """The engine that runs one job under a ring scheme; implements `PlaneEngine`.

    Args:
        parameters, key_id: parameter set and id of the owner's key.
        evaluator: client of the evaluator.
        crypto: worker processes that encrypt and decrypt.
        view_pixels: pixels of each picture of what the evaluator sees; 0 for no pictures.
    """

    def __init__(
        self,
        parameters: ParameterSet,
        key_id: bytes,
        evaluator: EvaluatorClient,
        crypto: Crypto,
        view_pixels: int = 0,
    ) -> None:
        self.account = Account(
            parameters.scheme.name.lower(), parameters.name, description=parameters.security
        )
        self._parameters = parameters
        self._key_id = key_id
        self._evaluator = evaluator
        self._crypto = crypto
        self._view_pixels = min(view_pixels, MAX_VIEW_PIXELS)

    async def transform(
        self, trip: TileTrip | ScaleTrip, padded: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Implements `PlaneEngine.transform`."""
        layout = trip.layout
        tiles = np.concatenate([layout.cut(plane) for plane in padded])
        source = self._sent(trip.ciphertexts, layout.halo)
        answers = self._ask(trip, source, partial(self._encrypted, tiles, "a"))
        values = np.empty(self._results_shape(trip), np.int32)
        async for progress in self._collected(answers, layout, values):
            yield progress
        per_plane = values.reshape(trip.per_tile * trip.planes, layout.tiles, *values.shape[2:])
        pictures = _joined(per_plane, layout)
        yield Transformed(pictures.reshape(trip.per_tile, trip.planes, layout.height, layout.width))

    async def transform_stored(
        self, trip: TileTrip | ScaleTrip, stored: StoredPlanes
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Transforms planes that are in storage, whose layout the trip has; else like `transform`."""
        self.account.note_in_place()
        self.account.ciphertexts += trip.ciphertexts
        values = np.empty(self._results_shape(trip), np.int32)
        async for progress in self._collected(self._ask(trip, stored), trip.layout, values):
            yield progress
        yield Transformed(_joined(values, trip.layout))

    def _ask(
        self, trip: TileTrip | ScaleTrip, source: PlaneSource, blocks: Blocks | None = None
    ) -> AsyncGenerator[PlanePart, None]:
        if isinstance(trip, ScaleTrip):
            return self._evaluator.scale_space(source, trip.images, trip.phases, blocks)
        return self._evaluator.transform(source, trip.kernels, blocks)

    @staticmethod
    def _results_shape(trip: TileTrip | ScaleTrip) -> tuple[int, int, int, int]:
        return trip.per_tile, trip.ciphertexts, trip.layout.inner_height, trip.layout.inner_width

    async def difference(
        self, minuend: Integers, subtrahend: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Implements `PlaneEngine.difference`, for planes of bytes."""
        first, second = self._digits(minuend), self._digits(subtrahend)
        layout = PlaneLayout(1, 1, 1, self._parameters.ring_degree)  # a whole tile, since nothing is cut
        source = self._sent(len(first), 0)
        answers = self._evaluator.difference(
            source, source, partial(self._encrypted, first, "a"), partial(self._encrypted, second, "b")
        )
        values = np.empty((1, len(first), layout.tile_height, layout.tile_width), np.int32)
        async for progress in self._collected(answers, layout, values):
            yield progress
        yield Transformed(_from_digits(values).reshape(-1)[: minuend.size].reshape(1, *minuend.shape))

    async def difference_stored(
        self, minuend: StoredPlanes | Integers, subtrahend: StoredPlanes | Integers, layout: PlaneLayout
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Subtracts pictures of which one or both are in storage; else like `difference`.

        Args:
            minuend, subtrahend: stored planes with this layout, or bytes [planes, height, width].
            layout: the tiles of both.
        """
        sources, blocks = zip(
            *(self._operand(one, layout, name) for one, name in ((minuend, "a"), (subtrahend, "b"))),
            strict=True,
        )
        answers = self._evaluator.difference(*sources, *blocks)
        values = np.empty((1, layout.ciphertexts, layout.inner_height, layout.inner_width), np.int32)
        async for progress in self._collected(answers, layout, values):
            yield progress
        yield Transformed(_joined(values, layout))

    def _operand(
        self, given: StoredPlanes | Integers, layout: PlaneLayout, name: str
    ) -> tuple[PlaneSource, Blocks | None]:
        if isinstance(given, StoredPlanes):
            self.account.note_in_place()
            self.account.ciphertexts += layout.ciphertexts
            return given, None
        tiles = layout.pack(np.moveaxis(given, 0, 2).reshape(layout.shape))
        return self._sent(len(tiles), layout.halo), partial(self._encrypted, tiles, name)

    def _sent(self, ciphertexts: int, halo: int) -> SentPlanes:
        return SentPlanes(self._parameters.name, self._key_id, ciphertexts, halo)

    def _digits(self, planes: Integers) -> Integers:
        """Packs bytes in order, three in a coefficient: int32 [ciphertexts, N]."""
        per_ciphertext = DIGITS * self._parameters.ring_degree
        values = planes.reshape(-1).astype(np.int32)
        filled = np.pad(values, (0, -values.size % per_ciphertext)).reshape(-1, DIGITS)
        weights = np.array([BASE**digit for digit in range(DIGITS)], np.int32)
        return (filled @ weights).reshape(-1, self._parameters.ring_degree)

    async def _encrypted(self, tiles: Integers, name: str) -> AsyncIterator[bytes]:
        self.account.ciphertexts += len(tiles)
        async with aclosing(self._crypto.encrypt_tiles(self._parameters, tiles)) as blocks:
            async for block, seconds in blocks:
                self.account.encrypt_seconds += seconds
                self.account.sent_bytes += len(block)
                self._look(block, name)
                yield block

    async def _collected(
        self, answers: AsyncGenerator[PlanePart, None], layout: PlaneLayout, values: Values
    ) -> AsyncIterator[Progress]:
        """Decrypts results as they come, and yields progress.

        Args:
            values: filled with the results, [kernels, ciphertexts, inner height, inner width].
        """
        account = self.account
        account.round_trips += 1
        total, done = values.shape[0] * values.shape[1], 0
        yield Progress(Stage.COMPUTE, done, total)
        async with (
            aclosing(answers),
            aclosing(in_order(self._works(answers, layout, values), self._crypto.pool.at_once)) as made,
        ):
            async for result, tiles, seconds in made:
                values[result.kernel, result.first : result.first + len(tiles)] = tiles
                account.decrypt_seconds += seconds
                done += len(tiles)
                yield Progress(Stage.COMPUTE, done, total)
        account.results += done
        if done != total:
            raise DataLoss(f"the evaluator answered with {done} results, want {total}")

    async def _works(
        self, answers: AsyncGenerator[PlanePart, None], layout: PlaneLayout, values: Values
    ) -> AsyncIterator[Coroutine[Any, Any, Decrypted]]:
        """Yields the decryption of each block, after a check that for each kernel tiles come in order."""
        following = [0] * values.shape[0]
        async for part in answers:
            if isinstance(part, PlaneSummary):
                self.account.compute_seconds += part.compute_seconds
            elif isinstance(part, PlanePlan):
                if part.ciphertexts != values.shape[1]:
                    raise DataLoss(f"the evaluator plans {part.ciphertexts} results, want {values.shape[1]}")
            else:
                with answer_of("the evaluator"):
                    header = parse_header(part.block)
                self._check(part, header, following, values.shape[1])
                following[part.kernel] += header.count
                self.account.received_bytes += len(part.block)
                self._look(part.block, "result")
                yield self._decrypted(part, layout)

    async def _decrypted(self, part: PlaneResult, layout: PlaneLayout) -> Decrypted:
        with answer_of("the evaluator"):
            tiles, seconds = await self._crypto.decrypt_results(self._parameters, layout, part.block)
        return part, tiles, seconds

    @staticmethod
    def _check(part: PlaneResult, header: BlockHeader, following: list[int], ciphertexts: int) -> None:
        """Refuses a result of another form or order; decryption checks key, sizes and residues."""
        if header.form is not Form.FULL:
            raise DataLoss("the evaluator answered with tiles of another form than full ones")
        if not 0 <= part.kernel < len(following) or part.first != following[part.kernel]:
            raise DataLoss("the evaluator answered with results in another order")
        if header.count > min(BLOCK_CIPHERTEXTS, ciphertexts - part.first):
            raise DataLoss(f"the evaluator answered with {header.count} tiles at once, or too many")

    def _look(self, block: bytes, name: str) -> None:
        """Adds to the picture of what the evaluator sees: one grey pixel for each residue, in order."""
        seen = self.account.views.get(name, np.empty(0, np.uint8))
        missing = self._view_pixels - len(seen)
        if missing > 0:
            residues = np.frombuffer(
                block, "<u4", count=min(missing, (len(block) - HEADER.size) // 4), offset=HEADER.size
            )
            top = max(self._parameters.primes).bit_length() - 8
            self.account.views[name] = np.concatenate([seen, (residues >> top).astype(np.uint8)])


def _joined(values: Values, layout: PlaneLayout) -> Values:
    """Joins tiles [results, ciphertexts, inner height, inner width] to [results, channels, height, width]."""
    return np.stack([layout.join(one).astype(np.int32, copy=False) for one in values])


def _from_digits(values: Values) -> Values:
    """Splits differences of packed coefficients into differences of their three digits: int32 [..., 3]."""
    rest, digits = values.astype(np.int64), []
    for _ in range(DIGITS):
        digit = (rest + BASE // 2) % BASE - BASE // 2
        rest = (rest - digit) // BASE
        digits.append(digit)
    return np.stack(digits, axis=-1).astype(np.int32)
