"""BFV and CKKS: tiles are sent as they are encrypted, results are decrypted as they come.

A tile's ciphertext times a kernel of integers is one product of polynomials: docs/imaging.md has the algebra.
Differences need no tiles, only as many values in the same order: each coefficient holds three bytes as digits
of base 512, in which any difference of two bytes fits.

Results are decrypted as they come, but nothing is done with what they hold before all have passed one check
(`blindsight.trusted.imaging.tile_checks`), and nothing that happens until then depends on it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from blindsight.ciphertext.header import HEADER, BlockHeader, Form, parse_header
from blindsight.ciphertext.residues import Residues, add
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
from blindsight.trusted.imaging.tile_checks import IDENTITY, TileCheck, no_sum
from blindsight.trusted.schemes.sampling import KEY_BYTES
from blindsight.trusted.secrets import Secret
from blindsight.wire.planes import (
    PlanePart,
    PlanePlan,
    PlaneResult,
    PlaneSource,
    PlaneSummary,
    SentPlanes,
)
from services.keyholder.imaging.engine import (
    Account,
    Progress,
    Shape,
    Stage,
    StoredTiles,
    Transformed,
    Values,
)

# Bytes in a coefficient of a difference, and the base of its digits: differences of bytes are -255 to 255.
DIGITS, BASE = 3, 512
# Results are kept as signed integers of 32 bits.
_MOST_RESULT = 1 << 30
# The most pixels of a view: about those of a screen.
MAX_VIEW_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class _Decrypted:
    """Results of one kernel, as they decrypted, and the combination of their ciphertexts."""

    result: PlaneResult
    tiles: Values
    combination: Residues
    seconds: float


@dataclass(slots=True, eq=False)
class _Operand:
    """Planes that the evaluator computes with, and the combination of their tiles.

    Attributes:
        blocks: encrypts the tiles to be sent, and their combination; None for planes in storage.
    """

    source: PlaneSource
    combination: Residues
    blocks: Blocks | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """The state of one call.

    Attributes:
        layout: of the tiles of results.
        values: the results, [kernels, ciphertexts, inner height, inner width].
    """

    layout: PlaneLayout
    values: Values
    check: TileCheck


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
    def ciphertexts(self) -> int:
        """Number of ciphertexts that are sent, or read from storage."""
        return self.planes * self.layout.ciphertexts

    @property
    def results(self) -> int:
        """Number of ciphertexts that come back."""
        return len(self.kernels) * self.ciphertexts


@dataclass(frozen=True)
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

    @cached_property
    def kernels(self) -> tuple[PlaneKernel, ...]:
        """Each gives a result for every tile: those of all images, one image after the other."""
        return tuple(kernel for image in self.images for kernel in image.plane_kernels(self.phases))

    @property
    def ciphertexts(self) -> int:
        """Number of ciphertexts that are sent, or read from storage."""
        return self.layout.ciphertexts

    @property
    def results(self) -> int:
        """Number of ciphertexts that come back."""
        return len(self.kernels) * self.ciphertexts


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
        tile_key: the owner's, for the check of what is computed of planes in storage.
        evaluator: client of the evaluator.
        crypto: worker processes that encrypt and decrypt.
        view_pixels: pixels of each picture of what the evaluator sees; 0 for no pictures.
    """

    def __init__(
        self,
        parameters: ParameterSet,
        key_id: bytes,
        tile_key: Secret,
        evaluator: EvaluatorClient,
        crypto: Crypto,
        view_pixels: int = 0,
    ) -> None:
        self.account = Account(
            parameters.scheme.name.lower(), parameters.name, description=parameters.security
        )
        self._parameters = parameters
        self._key_id = key_id
        self._tile_key = tile_key
        self._evaluator = evaluator
        self._crypto = crypto
        self._view_pixels = min(view_pixels, MAX_VIEW_PIXELS)

    async def transform(
        self, trip: TileTrip | ScaleTrip, padded: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Implements `PlaneEngine.transform`."""
        layout = trip.layout
        tiles = np.concatenate([layout.cut(plane) for plane in padded])
        call = self._call(trip.kernels, trip.ciphertexts, layout)
        operand = self._sent(call, tiles, layout.halo, "a")
        async for progress in self._collected(call, self._ask(trip, operand), operand):
            yield progress
        kernels = len(trip.kernels)
        per_plane = call.values.reshape(kernels * trip.planes, layout.tiles, *call.values.shape[2:])
        pictures = _joined(per_plane, layout)
        yield Transformed(pictures.reshape(kernels, trip.planes, layout.height, layout.width))

    async def transform_stored(
        self, trip: TileTrip | ScaleTrip, stored: StoredTiles
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Transforms planes that are in storage, whose layout the trip has; else like `transform`."""
        call = self._call(trip.kernels, trip.ciphertexts, trip.layout, stored=True)
        operand = self._stored(stored, trip.layout)
        async for progress in self._collected(call, self._ask(trip, operand), operand):
            yield progress
        yield Transformed(_joined(call.values, trip.layout))

    def _ask(self, trip: TileTrip | ScaleTrip, operand: _Operand) -> AsyncGenerator[PlanePart, None]:
        if isinstance(trip, ScaleTrip):
            return self._evaluator.scale_space(operand.source, trip.images, trip.phases, operand.blocks)
        return self._evaluator.transform(operand.source, trip.kernels, operand.blocks)

    def _call(
        self, kernels: Sequence[PlaneKernel], ciphertexts: int, layout: PlaneLayout, *, stored: bool = False
    ) -> _Call:
        # Of planes in storage there are combinations for one gamma alone, that of the owner.
        key = self._tile_key if stored else Secret(os.urandom(KEY_BYTES))
        shape = len(kernels), ciphertexts, layout.inner_height, layout.inner_width
        check = TileCheck(self._parameters, key, kernels, ciphertexts)
        return _Call(layout, np.empty(shape, np.int32), check)

    async def difference(
        self, minuend: Integers, subtrahend: Integers
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Implements `PlaneEngine.difference`, for planes of bytes."""
        first, second = self._digits(minuend), self._digits(subtrahend)
        layout = PlaneLayout(1, 1, 1, self._parameters.ring_degree)  # a whole tile, since nothing is cut
        call = self._call([IDENTITY], len(first), layout)
        operands = self._sent(call, first, 0, "a"), self._sent(call, second, 0, "b")
        async for progress in self._subtracted(call, *operands):
            yield progress
        yield Transformed(_from_digits(call.values).reshape(-1)[: minuend.size].reshape(1, *minuend.shape))

    async def difference_stored(
        self, minuend: StoredTiles | Integers, subtrahend: StoredTiles | Integers, layout: PlaneLayout
    ) -> AsyncGenerator[Progress | Transformed, None]:
        """Subtracts pictures of which one or both are in storage; else like `difference`.

        Args:
            minuend, subtrahend: stored planes with this layout, or bytes [planes, height, width].
            layout: the tiles of both.
        """
        call = self._call([IDENTITY], layout.ciphertexts, layout, stored=True)
        operands = self._operand(call, minuend, "a"), self._operand(call, subtrahend, "b")
        async for progress in self._subtracted(call, *operands):
            yield progress
        yield Transformed(_joined(call.values, layout))

    def _subtracted(self, call: _Call, minuend: _Operand, subtrahend: _Operand) -> AsyncIterator[Progress]:
        answers = self._evaluator.difference(
            minuend.source, subtrahend.source, minuend.blocks, subtrahend.blocks
        )
        return self._collected(call, answers, minuend, subtrahend)

    def _operand(self, call: _Call, given: StoredTiles | Integers, name: str) -> _Operand:
        layout = call.layout
        if isinstance(given, StoredTiles):
            return self._stored(given, layout)
        tiles = layout.pack(np.moveaxis(given, 0, 2).reshape(layout.shape))
        return self._sent(call, tiles, layout.halo, name)

    def _stored(self, given: StoredTiles, layout: PlaneLayout) -> _Operand:
        self.account.note_in_place()
        self.account.ciphertexts += layout.ciphertexts
        return _Operand(given.reference, given.combination)

    def _sent(self, call: _Call, tiles: Integers, halo: int, name: str) -> _Operand:
        source = SentPlanes(self._parameters.name, self._key_id, len(tiles), halo)
        operand = _Operand(source, no_sum(self._parameters))
        operand.blocks = partial(self._encrypted, call, operand, tiles, name)
        return operand

    def _digits(self, planes: Integers) -> Integers:
        """Packs bytes in order, three in a coefficient: int32 [ciphertexts, N]."""
        per_ciphertext = DIGITS * self._parameters.ring_degree
        values = planes.reshape(-1).astype(np.int32)
        filled = np.pad(values, (0, -values.size % per_ciphertext)).reshape(-1, DIGITS)
        weights = np.array([BASE**digit for digit in range(DIGITS)], np.int32)
        return (filled @ weights).reshape(-1, self._parameters.ring_degree)

    async def _encrypted(
        self, call: _Call, operand: _Operand, tiles: Integers, name: str
    ) -> AsyncIterator[bytes]:
        """Encrypts tiles; after a lost connection anew from the first on, to another combination."""
        self.account.ciphertexts += len(tiles)
        total = operand.combination = no_sum(self._parameters)
        factors = call.check.factors(0, len(tiles))
        async with aclosing(self._crypto.encrypt_tiles(self._parameters, tiles, factors)) as blocks:
            async for (block, part), seconds in blocks:
                total[:] = add(total, part, self._parameters)
                self.account.encrypt_seconds += seconds
                self.account.sent_bytes += len(block)
                self._look(block, name)
                yield block

    async def _collected(
        self, call: _Call, answers: AsyncGenerator[PlanePart, None], *operands: _Operand
    ) -> AsyncIterator[Progress]:
        """Decrypts results as they come into `call.values`, yields progress, and checks them all at the end.

        Raises:
            DataLoss: if they are not the results for the operands, of which the second is subtracted.
        """
        account = self.account
        account.round_trips += 1
        total, done = call.values.shape[0] * call.values.shape[1], 0
        yield Progress(Stage.COMPUTE, done, total)
        async with (
            aclosing(answers),
            aclosing(in_order(self._works(call, answers), self._crypto.pool.at_once)) as made,
        ):
            async for one in made:
                if one is None:
                    call.check.restart()
                    done = 0
                    continue
                call.values[one.result.kernel, one.result.first :][: len(one.tiles)] = one.tiles
                call.check.add(one.result.kernel, one.combination)
                account.decrypt_seconds += one.seconds
                done += len(one.tiles)
                yield Progress(Stage.COMPUTE, done, total)
        account.results += done
        if done != total:
            raise DataLoss(f"the evaluator answered with {done} results, want {total}")
        if not await asyncio.to_thread(call.check.passes, *(one.combination for one in operands)):
            raise DataLoss("the evaluator answered with something else than the results for these planes")

    async def _works(
        self, call: _Call, answers: AsyncGenerator[PlanePart, None]
    ) -> AsyncIterator[Coroutine[Any, Any, _Decrypted | None]]:
        """Yields the decryption of each block, after a check that for each kernel tiles come in order.

        A plan, also one after a lost connection, gives None: results come from the first on.
        """
        kernels, ciphertexts = call.values.shape[:2]
        following = [0] * kernels
        async for part in answers:
            if isinstance(part, PlaneSummary):
                self.account.compute_seconds += part.compute_seconds
            elif isinstance(part, PlanePlan):
                if part.ciphertexts != ciphertexts:
                    raise DataLoss(f"the evaluator plans {part.ciphertexts} results, want {ciphertexts}")
                following = [0] * kernels
                yield _nothing()
            else:
                with answer_of("the evaluator"):
                    header = parse_header(part.block)
                self._check(part, header, following, ciphertexts)
                following[part.kernel] += header.count
                self.account.received_bytes += len(part.block)
                self._look(part.block, "result")
                yield self._decrypted(call, part, header.count)

    async def _decrypted(self, call: _Call, part: PlaneResult, count: int) -> _Decrypted:
        factors = call.check.factors(part.first, count)
        with answer_of("the evaluator"):
            (tiles, combination), seconds = await self._crypto.decrypt_results(
                self._parameters, call.layout, part.block, factors
            )
        return _Decrypted(part, tiles, combination, seconds)

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


async def _nothing() -> None:
    pass


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
