"""What opens and checks answers of a gallery: H and a of each segment, and check sums.

An answer key is of one point of storage's log.  It is never changed: a batch that is added makes a new one,
which shares what did not change, so that a search keeps the one that it began with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from blindsight.ciphertext.residues import Residues, prime_column
from blindsight.errors import DataLoss
from blindsight.packing.segments import Region, SegmentId
from blindsight.trusted.columns import checking
from blindsight.trusted.columns.batches import Batch
from blindsight.trusted.columns.gallery import common_polynomial, sum_of
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.columns.queries import Cover, held
from blindsight.trusted.schemes.sampling import Words

_FILL = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SegmentKey:
    """What opens and checks the answers of a segment, summed over its batches.

    Attributes:
        cover: H and a.
        gamma: the segment's factor in the check, uint64 [primes].
        fill: number of slots that the batches take, from the first on.
    """

    cover: Cover
    gamma: Words
    fill: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AnswerKey:
    """What opens and checks the answers of a gallery at one point of its log.

    Attributes:
        sequence, epoch: the point.
        segments: those in use.
        sums: check sums of each region with segments.
    """

    sequence: int = 0
    epoch: int = 0
    segments: Mapping[SegmentId, SegmentKey] = field(default_factory=dict)
    sums: Mapping[Region, Residues] = field(default_factory=dict)


class Extension:
    """An answer key in the making, from an older one.

    Args:
        base: the older one.
        keys: of the collection.
    """

    def __init__(self, base: AnswerKey, keys: CollectionKeys) -> None:
        self._keys = keys
        self._segments = dict(base.segments)
        self._sums = dict(base.sums)
        self._own: set[Region] = set()

    def add(self, batch: Batch) -> None:
        """Adds a batch to its segment.

        Raises:
            DataLoss: if it does not follow the batches before it: one was left out, or comes twice.  The
                evaluator reads the same log, so that the check of its answers would not tell.
        """
        parameters, segment, region = self._keys.parameters, batch.place.segment, batch.place.region
        before = self._segments.get(segment)
        fill = before.fill if before is not None else 0
        if batch.place.first_slot != fill:
            raise DataLoss(f"a batch of segment {segment} from slot {batch.place.first_slot} on, want {fill}")
        fields = self._keys.layout.of(region).field_columns
        found = held(batch.tiles, self._keys.of(region), fields)
        common = common_polynomial(batch.seed, parameters)
        if before is not None:
            found = sum_of(before.cover.held, found, parameters)
            common = sum_of(before.cover.common, common, parameters)
        gamma = before.gamma if before is not None else _gamma(segment, self._keys)
        self._segments[segment] = SegmentKey(Cover(found, common), gamma, fill + batch.place.count)
        checking.add_batch(self._writable(region), batch.tiles, gamma, parameters)

    def retire(self, segment: SegmentId, batches: Iterable[Batch]) -> None:
        """Takes a segment out, whose batches are given.

        Raises:
            DataLoss: if they are not all of them: the check sums would not fit any more.
        """
        parameters, filled, before = self._keys.parameters, 0, self._segments.pop(segment)
        minus = np.array(parameters.primes, np.uint64) - before.gamma
        for batch in batches:
            checking.add_batch(self._writable(segment.region), batch.tiles, minus, parameters)
            filled += batch.place.count
        if filled != before.fill:
            raise DataLoss(f"batches of {filled} slots of segment {segment}, which has others")

    def finish(self, sequence: int, epoch: int) -> AnswerKey:
        """Returns the answer key of a later point; the extension is not used after that."""
        return AnswerKey(sequence, epoch, self._segments, self._sums)

    def _writable(self, region: Region) -> Residues:
        """Returns check sums that this extension may change."""
        if region not in self._own:
            columns = self._keys.layout.of(region).columns
            before = self._sums.get(region)
            copied = before.copy() if before is not None else checking.no_sums(self._keys.parameters, columns)
            self._sums[region] = copied
            self._own.add(region)
        return self._sums[region]


def to_bytes(key: SegmentKey) -> bytes:
    """Serialises a segment's key."""
    return _FILL.pack(key.fill) + key.cover.held.tobytes() + key.cover.common.tobytes()


def from_bytes(data: bytes, segment: SegmentId, keys: CollectionKeys) -> SegmentKey:
    """Inverts `to_bytes`; raises ValueError if the size is another."""
    fields = len(keys.layout.of(segment.region).fields)
    shape = fields + 1, len(keys.parameters.primes), keys.parameters.ring_degree
    words = np.frombuffer(data, np.uint32, offset=_FILL.size).reshape(shape)
    if (words >= prime_column(keys.parameters)).any():
        raise ValueError("a residue is not below its prime")
    cover = Cover(words[:fields], words[fields])
    return SegmentKey(cover, _gamma(segment, keys), _FILL.unpack_from(data)[0])


def _gamma(segment: SegmentId, keys: CollectionKeys) -> Words:
    return checking.factors(keys.fixed("check"), segment, keys.parameters)
