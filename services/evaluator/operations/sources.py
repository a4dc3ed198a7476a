"""Sources of tiles of encrypted planes: the client sends them, or storage has them.

Both yield blocks of `BLOCK_CIPHERTEXTS`, of which only the last may be smaller, so that memory is bounded and
planes of different sources can be combined block by block.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from blindsight.ciphertext.header import KEY_ID_BYTES, Form, check_expected, check_size, parse_header
from blindsight.ciphertext.residues import cut, read_block
from blindsight.errors import (
    DataLoss,
    InvalidArgument,
    InvalidCiphertext,
    ResourceExhausted,
)
from blindsight.packing.tiling import BLOCK_CIPHERTEXTS, CHANNELS, MAX_COEFFICIENTS, Tiling
from blindsight.parameters import ParameterSet, by_name, of_ring
from blindsight.runtime.transfer import digest
from blindsight.wire.planes import (
    PaillierPlanes,
    PlanePlan,
    PlaneSource,
    PlaneTiles,
    SentPlanes,
    StoredPlanes,
)
from services.evaluator.batch_log import Storage, StoredPiece
from services.evaluator.geometry import CollectionRecord
from services.evaluator.operations.intake import check_digest, check_digest_size, check_no_secret, next_chunk

# Size of collection ids and handles.
ID_BYTES = 16


def tiled(source: PlaneSource) -> SentPlanes | StoredPlanes:
    """Refuses Paillier planes; returns the others.

    Raises:
        InvalidArgument: if the planes are under Paillier.
    """
    if isinstance(source, PaillierPlanes):
        raise InvalidArgument("Paillier planes, which are for Transform alone, want sent or stored ones")
    return source


@dataclass(frozen=True, slots=True)
class PlaneForm:
    """The form of planes, known before any tile is received.

    Attributes:
        parameters, key_id: parameter set and key id of the ciphertexts.
        ciphertexts: number of all ciphertexts.
        halo: width in pixels of the border that each tile shares with its neighbours.
        width, height, channels: size of a stored photo, else 0.
    """

    parameters: ParameterSet
    key_id: bytes
    ciphertexts: int
    halo: int
    width: int = 0
    height: int = 0
    channels: int = 0

    @property
    def size(self) -> str:
        """The size of a stored photo as text."""
        return f"{self.width} x {self.height} x {self.channels}"

    @property
    def plan(self) -> PlanePlan:
        """The plan of results, one for each ciphertext, which is sent first."""
        size = self.width, self.height, self.channels
        return PlanePlan(self.parameters.name, self.key_id, self.ciphertexts, *size, self.halo)

    @property
    def counts(self) -> list[int]:
        """The number of ciphertexts of every block."""
        full, rest = divmod(self.ciphertexts, BLOCK_CIPHERTEXTS)
        return [BLOCK_CIPHERTEXTS] * full + ([rest] if rest else [])


@dataclass(frozen=True, slots=True)
class Opened:
    """Planes and the stream of their blocks in the wire form; residues of sent tiles are checked later."""

    form: PlaneForm
    blocks: AsyncIterator[bytes]


class Sources:
    """The sources of planes.

    Args:
        storage: provides stored planes.
        stall_seconds: a client that sends nothing for this long is refused.
    """

    def __init__(self, storage: Storage, stall_seconds: float) -> None:
        self._storage = storage
        self._stall_seconds = stall_seconds

    @asynccontextmanager
    async def open(
        self, source: SentPlanes | StoredPlanes, tiles: AsyncIterator[PlaneTiles]
    ) -> AsyncIterator[Opened]:
        """Opens planes of either source while the block runs.

        Args:
            tiles: the tiles of planes that are sent; not read for stored planes.

        Raises:
            InvalidArgument, InvalidCiphertext, SecretMaterialRefused: if what the client sent is invalid.
            ResourceExhausted: if it announced too many tiles.
            NotFound, Unavailable, DataLoss: see `Storage.read_planes`.
        """
        if isinstance(source, SentPlanes):
            form = _announced(source)
            yield Opened(form, self._sent(form, tiles))
        else:
            async with self._stored(source) as opened:
                yield opened

    async def _sent(self, form: PlaneForm, tiles: AsyncIterator[PlaneTiles]) -> AsyncIterator[bytes]:
        for count in form.counts:
            sent = await next_chunk(tiles, self._stall_seconds)
            if sent is None:
                raise InvalidArgument(f"the stream ended before all of {form.ciphertexts} tiles had come")
            await asyncio.to_thread(_check_sent, sent, form, count)
            yield sent.block

    @asynccontextmanager
    async def _stored(self, source: StoredPlanes) -> AsyncIterator[Opened]:
        for name, value in (("collection id", source.collection_id), ("handle", source.handle)):
            if len(value) != ID_BYTES:
                raise InvalidArgument(f"{name} of {len(value)} bytes, want {ID_BYTES}")
        record = await self._storage.get_collection(source.collection_id)
        if not isinstance(record, CollectionRecord):
            raise InvalidArgument(
                f"planes under {record.parameters.name}, want a set of ckks or bfv for that"
            )
        async with self._storage.read_planes(record, source.handle) as events:
            tiling = await anext(events, None)
            if not isinstance(tiling, Tiling):
                raise DataLoss("storage sent planes without their layout")
            yield Opened(_stored_form(record, tiling), _cut(record, tiling, events))


def _announced(source: SentPlanes) -> PlaneForm:
    parameters = of_ring(by_name(source.parameter_set), "planes")
    if len(source.key_id) != KEY_ID_BYTES:
        raise InvalidArgument(f"key id of {len(source.key_id)} bytes, want {KEY_ID_BYTES}")
    most = max(CHANNELS) * MAX_COEFFICIENTS // parameters.ring_degree
    if not 1 <= source.ciphertexts <= most:
        raise ResourceExhausted(f"planes of {source.ciphertexts} tiles, want 1 to {most}")
    # Refuses a halo that leaves no pixel of a tile, by the tiling of an image of one pixel.
    Tiling(1, 1, 1, parameters.ring_degree, source.halo)
    return PlaneForm(parameters, source.key_id, source.ciphertexts, source.halo)


def _check_sent(sent: PlaneTiles, form: PlaneForm, count: int) -> None:
    """Refuses a block of another form than was announced; a worker process checks its residues."""
    check_no_secret(sent.block, "a block of ciphertexts")
    check_digest_size(sent.sha256, "tiles have")
    header = parse_header(sent.block)
    check_expected(header, form.parameters, form.key_id)
    if header.count != count:
        raise InvalidCiphertext(f"block of {header.count} tiles, want {count}")
    if header.form not in (Form.SEEDED, Form.FULL):
        raise InvalidCiphertext(f"tiles as {header.form.name}, want seeded or full ciphertexts")
    check_size(header, len(sent.block))
    check_digest(digest(sent.block), sent.sha256, "tiles")


def _stored_form(record: CollectionRecord, tiling: Tiling) -> PlaneForm:
    return PlaneForm(
        record.parameters,
        record.key_id,
        tiling.ciphertexts,
        tiling.halo,
        tiling.width,
        tiling.height,
        tiling.channels,
    )


async def _cut(
    record: CollectionRecord, tiling: Tiling, events: AsyncIterator[object]
) -> AsyncIterator[bytes]:
    """Yields storage's pieces cut into blocks; each piece but the last is a multiple of a block."""
    for number, count in enumerate(tiling.pieces, 1):
        piece = await anext(events, None)
        if not isinstance(piece, StoredPiece):
            raise DataLoss("storage sent fewer pieces of planes than their layout has")
        try:
            block = await asyncio.to_thread(read_block, piece.block, record.parameters, record.key_id)
        except InvalidCiphertext as error:
            raise DataLoss(f"planes from storage: {error.message}") from error
        if block.header.count != count:
            raise DataLoss(f"storage sent a piece of {block.header.count} tiles, want {count}")
        if number == len(tiling.pieces) and await anext(events, None) is not None:
            raise DataLoss("storage sent more pieces of planes than their layout has")
        for start in range(0, count, BLOCK_CIPHERTEXTS):
            yield cut(block, start, start + BLOCK_CIPHERTEXTS).to_bytes()
