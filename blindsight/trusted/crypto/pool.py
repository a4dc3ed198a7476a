"""Encryption, decryption and embedding for services, as calls into worker processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
from prometheus_client import Histogram

from blindsight.ciphertext.header import additive_header, check_additive_batch
from blindsight.ciphertext.residues import Residues
from blindsight.packing.columns import Floats, Layout
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.packing.segments import Placement, Region
from blindsight.packing.tiling import BLOCK_CIPHERTEXTS, PIECE_CIPHERTEXTS
from blindsight.parameters import AdditiveSet, Parameters, ParameterSet
from blindsight.runtime import logs
from blindsight.runtime.confinement import has_filters
from blindsight.runtime.processpool import WorkerPool
from blindsight.trusted.additive import packed
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.crypto import tasks
from blindsight.trusted.imaging import images
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.metrics import CryptoMetrics
from blindsight.trusted.schemes.sampling import Words, scalars
from blindsight.trusted.secrets import Secret
from blindsight.wire.metadata import Value

# No photo takes a tenth of this to decode and describe; a decoder that takes longer hangs.
_DECODING_SECONDS = 120
# Photos whose keypoints one call to a worker compares, in some 60 ms.
_COMPARED_AT_ONCE = 10


class Processes:
    """The processes of a service that hold no key, which its key sets share.

    Args:
        count: number of those that open photos.
        measured: the metrics of the service.

    Attributes:
        decoders: the processes that open photos; see `runtime.confinement`.
        forks: no workers, but the process that forks those that get keys.
    """

    def __init__(self, count: int, measured: CryptoMetrics) -> None:
        self.forks = WorkerPool(0, tasks.COMPUTE, prepare=tasks.Prepare())
        self.decoders = WorkerPool(
            count,
            tasks.DECODING,
            tasks.Confine(),
            measured.restarts.inc,
            prepare=tasks.PrepareDecoding(),
            seconds=_DECODING_SECONDS,
        )

    @property
    def weakness(self) -> str:
        """A sentence on what does not confine the decoders on this machine; empty where all does."""
        if has_filters():
            return ""
        return "photos are decoded behind limits alone: this machine allows no filter of system calls"

    async def warm(self) -> None:
        """Starts the workers that open photos."""
        if self.weakness:
            logs.get().warning("decoders_without_filter")
        await self.decoders.warm()

    def close(self) -> None:
        """Stops the workers; close the pools of key sets first."""
        self.decoders.close()
        self.forks.close()


class Crypto:
    """Operations with the keys of one key set in worker processes of its own, and on photos in shared ones.

    Args:
        keys: the key set; workers that encrypt get the secret keys when they start.
        processes: number of worker processes of either kind.
        measured: the metrics of the service.
        shared: the processes without keys, closed later by their owner; None: of this object.
        idle_seconds: workers with keys that have nothing to do for so long end; None: they stay.

    Attributes:
        pool: the processes that have the keys.
        decoders: the processes that open photos.
    """

    def __init__(
        self,
        keys: KeySet,
        processes: int,
        measured: CryptoMetrics,
        shared: Processes | None = None,
        idle_seconds: float | None = None,
    ) -> None:
        self._key_id = keys.key_id
        self._measured = measured
        beside = shared or Processes(processes, measured)
        self._own = None if shared is not None else beside
        self.pool = WorkerPool(
            processes,
            tasks.COMPUTE,
            tasks.Start.of(keys),
            measured.restarts.inc,
            beside=beside.forks,
            idle_seconds=idle_seconds,
        )
        self.decoders = beside.decoders
        self.processes = processes

    async def warm(self) -> None:
        """Starts the workers and loads what they need."""
        own = self._own
        await asyncio.gather(self.pool.warm(tasks.Warm()), *([own.warm()] if own is not None else []))

    async def embed(self, embedder: str, dimension: int, channels: str, data: bytes) -> tasks.Embedded:
        """Computes a photo's vector.

        Raises:
            InvalidImage: if the data are not a decodable image.
        """
        started = time.perf_counter()
        embedded = await self.decoders.run(tasks.Embed(embedder, dimension, channels, data))
        # Only now is the embedder's name known to be valid: labels come from a closed set.
        self._measured.embed.labels(embedder).observe(time.perf_counter() - started)
        return embedded

    async def media_type(self, data: bytes) -> str:
        """Reads the media type of a photo from its header.

        Raises:
            InvalidImage: if the header is not that of an accepted image.
        """
        return await self.decoders.run(tasks.ReadMediaType(data))

    async def exif(self, data: bytes) -> dict[str, Value]:
        """Reads what a photo's EXIF says, by key; nothing of a file that has none."""
        return (await self.decoders.run(tasks.ReadExif(data))).values

    async def compare_keypoints(self, query: bytes, others: Sequence[bytes]) -> list[tasks.Agreement]:
        """Compares packed keypoints with those of many photos, in their order.

        Raises:
            DataLoss: if the bytes are not packed keypoints.
        """
        parts = [others[at : at + _COMPARED_AT_ONCE] for at in range(0, len(others), _COMPARED_AT_ONCE)]
        compared = await asyncio.gather(
            *(self.decoders.run(tasks.CompareKeypoints(query, tuple(part))) for part in parts)
        )
        return [agreement for part in compared for agreement in part]

    async def encrypt_batch(self, keys: CollectionKeys, place: Placement, rows: Floats) -> bytes:
        """Encrypts rows [count, row dimension] to the block of a batch."""
        with _timer(self._measured.encrypt, keys.parameters):
            return await self.pool.run(tasks.EncryptBatch(tasks.ColumnSecret.of(keys), place, rows))

    async def decrypt_segment(
        self, keys: CollectionKeys, region: Region, blocks: list[tuple[Placement, bytes]]
    ) -> Floats:
        """Decrypts a segment to rows [capacity, row dimension].

        Raises:
            DataLoss: if a batch is not the one that was written.
        """
        with _timer(self._measured.decrypt, keys.parameters):
            return await self.pool.run(tasks.DecryptSegment(tasks.ColumnSecret.of(keys), region, blocks))

    async def encrypt_columns(
        self, parameters: AdditiveSet, layout: Layout, rows: Floats, first_slot: int
    ) -> bytes:
        """Encrypts a batch for one segment under an additive scheme: a block of one ciphertext per column."""
        aligned = layout.align(rows)
        with _timer(self._measured.encrypt, parameters):
            parts = await asyncio.gather(
                *(
                    self.pool.run(tasks.EncryptColumns(parameters.name, part, aligned[:, values], first_slot))
                    for part, values in _column_parts(layout, self.processes)
                )
            )
        return b"".join([additive_header(parameters, self._key_id, layout.columns), *parts])

    async def decrypt_columns(self, parameters: AdditiveSet, layout: Layout, batches: list[bytes]) -> Floats:
        """Decrypts a segment under an additive scheme to rows [capacity, row dimension], in all workers."""
        for batch in batches:
            check_additive_batch(batch, parameters, self._key_id, layout.columns)

        def part(narrower: Layout, columns: slice) -> Coroutine[Any, Any, Floats]:
            # With a stride of 1 the values of a row are its columns.
            cut = [packed.columns_of(batch, parameters, self._key_id, columns) for batch in batches]
            return self.pool.run(tasks.DecryptColumns(parameters.name, narrower, cut))

        with _timer(self._measured.decrypt, parameters):
            parts = await asyncio.gather(*(part(*one) for one in _column_parts(layout, self.processes)))
        return np.concatenate(parts, axis=1)

    async def plain_queries(self, parameters: AdditiveSet, layout: Layout, forms: Floats) -> bytes:
        """Encodes linear forms [queries, row dimension] as weights in the clear for the evaluator to see."""
        return await self.pool.run(tasks.PlainQueries(parameters.name, layout, forms))

    async def decrypt_scores(self, parameters: AdditiveSet, layout: Layout, block: bytes) -> Floats:
        """Decrypts results under an additive scheme: products [results, capacity].

        A search makes many such calls, which `Scoring` measures as one.
        """
        return await self.pool.run(tasks.DecryptScores(parameters.name, layout, block))

    async def pixels(
        self, data: bytes, colours: images.Colours = images.Colours.AS_THEY_ARE
    ) -> images.Pixels:
        """Decodes the pixels of a photo.

        Raises:
            InvalidImage: if the data are not a decodable image, or the image is too large for planes.
        """
        return await self.decoders.run(tasks.DecodePixels(data, colours))

    async def plane_shape(self, data: bytes, colours: images.Colours) -> tuple[int, int, int]:
        """Reads channels, height and width of a photo's planes from its header.

        Raises:
            InvalidImage: if the header is not that of an accepted image, or names too many pixels for planes.
        """
        return await self.decoders.run(tasks.PlaneShape(data, colours))

    def encrypt_planes(
        self, parameters: ParameterSet, tiles: Integers, key: Secret
    ) -> AsyncGenerator[tuple[tuple[bytes, Residues], float], None]:
        """Encrypts tiles [count, N] piece by piece, with only as many in memory as keep the workers busy.

        Args:
            key: of the check; see `imaging.tile_checks`.

        Yields:
            each piece with its combination, and the seconds that it took.
        """
        factors = scalars(key.reveal_secret(), len(tiles), parameters)
        return self._encrypted_tiles(parameters, tiles, factors, PIECE_CIPHERTEXTS)

    async def decrypt_planes(
        self, parameters: ParameterSet, pieces: AsyncIterator[bytes]
    ) -> AsyncGenerator[npt.NDArray[np.uint8], None]:
        """Decrypts pieces as they come: uint8 [count, N] each; see `tasks.DecryptPlanes`."""
        work = (tasks.DecryptPlanes(parameters.name, piece) async for piece in pieces)
        async with aclosing(self.pool.map(work)) as decrypted:
            async for tiles, _ in decrypted:
                yield tiles

    def encrypt_tiles(
        self, parameters: ParameterSet, tiles: Integers, factors: Words
    ) -> AsyncGenerator[tuple[tuple[bytes, Residues], float], None]:
        """Encrypts tiles [count, N] for the evaluator; see `encrypt_planes`.

        Args:
            factors: of the combinations, uint64 [count, primes].
        """
        return self._encrypted_tiles(parameters, tiles, factors, BLOCK_CIPHERTEXTS)

    def _encrypted_tiles(
        self, parameters: ParameterSet, tiles: Integers, factors: Words, at_once: int
    ) -> AsyncGenerator[tuple[tuple[bytes, Residues], float], None]:
        parts = (slice(start, start + at_once) for start in range(0, len(tiles), at_once))
        return self.pool.map(
            tasks.EncryptPlanes(parameters.name, tiles[part], factors[part]) for part in parts
        )

    async def decrypt_results(
        self, parameters: ParameterSet, layout: PlaneLayout, block: bytes, factors: Words
    ) -> tuple[tuple[npt.NDArray[np.int32], Residues], float]:
        """Decrypts results of tiles, see `tasks.DecryptResults`; also returns the seconds that it took."""
        return await self.pool.timed(tasks.DecryptResults(parameters.name, layout, block, factors))

    def close(self) -> None:
        """Stops the workers."""
        self.pool.close()
        if self._own is not None:
            self._own.close()


def _timer(histogram: Histogram | None, parameters: Parameters) -> AbstractContextManager[Any]:
    if histogram is None:
        return nullcontext()
    return histogram.labels(parameters.scheme.name.lower(), parameters.name).time()


def _ranges(count: int, parts: int) -> Iterator[tuple[int, int]]:
    """Splits `count` items into at most `parts` ranges of nearly equal length."""
    parts = min(parts, count)
    for part in range(parts):
        yield count * part // parts, count * (part + 1) // parts


def _column_parts(layout: Layout, parts: int) -> Iterator[tuple[Layout, slice]]:
    """Splits a layout's columns; yields narrower layouts and the slice of aligned rows' values in each."""
    for start, stop in _ranges(layout.columns, parts):
        values = slice(start * layout.stride, stop * layout.stride)
        yield Layout((values.stop - values.start,), layout.stride, layout.ring_degree), values
