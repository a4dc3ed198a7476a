"""Secrets and public masks of columns, and all keys of a collection.

Column j has a secret s_j, with which rows are encrypted, and a public mask u_j, with which queries are.  Both
are the same for the life of the columns; a batch of rows brings a random polynomial of its own, a query a
secret of its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from blindsight.ciphertext.residues import Residues
from blindsight.packing.columns import CollectionLayout
from blindsight.packing.segments import Region
from blindsight.parameters import ParameterSet
from blindsight.ring.columns import Spans, products
from blindsight.ring.tiles import to_tiles
from blindsight.trusted.columns.numbers import transformed
from blindsight.trusted.schemes.sampling import KEY_BYTES, ternary, uniform
from blindsight.trusted.secrets import Secret

# Columns whose polynomials are sampled and transformed together, so that they stay in the cache.
_AT_ONCE = 16
# Limit of the keys that a process keeps beside those of the newest columns; 8 MB for 128 columns of CKKS.
_KEPT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ColumnKeys:
    """The secrets and masks of some columns, in NTT form.

    Attributes:
        parameters: ring and primes.
        secrets: s_j, ternary: uint32 [primes * tiles, columns, TILE].
        masks: u_j, public and uniform: the same shape.
    """

    parameters: ParameterSet
    secrets: Residues
    masks: Residues

    @classmethod
    def derive(cls, parameters: ParameterSet, secret: bytes, public: bytes, columns: int) -> ColumnKeys:
        """Derives the keys of columns.

        Args:
            secret: 32 bytes, of these columns alone.
            public: 32 bytes that anybody may know, of these columns alone.
        """
        values = ternary(secret, (columns, parameters.ring_degree))
        parts = [
            to_tiles(transformed(values[start : start + _AT_ONCE], parameters))
            for start in range(0, columns, _AT_ONCE)
        ]
        masks = to_tiles(uniform(public, columns, parameters))
        return cls(parameters, np.concatenate(parts, axis=1), masks)

    @property
    def columns(self) -> int:
        """The number of columns."""
        count: int = self.secrets.shape[1]
        return count

    @property
    def size_bytes(self) -> int:
        """Bytes of memory."""
        return self.secrets.nbytes + self.masks.nbytes

    def masked(self, fields: Spans) -> Residues:
        """Returns the sum over each field's columns of s_j u_j: uint32 [fields, primes, N]."""
        return products(self.secrets, self.masks, self.parameters, fields)


class _Cache:
    """The keys that this process used last, within a limit of memory."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, str, int, int], ColumnKeys] = OrderedDict()

    def get(self, root: bytes, parameters: ParameterSet, region: Region, columns: int) -> ColumnKeys:
        """Returns the keys of a region's columns; derives them if they are not here."""
        name = root, parameters.name, int(region), columns
        with self._lock:
            found = self._kept.get(name)
            if found is not None:
                self._kept.move_to_end(name)
                return found
        secret, public = (_expanded(root, b"%s/%d" % (what, region)) for what in (b"secrets", b"masks"))
        found = ColumnKeys.derive(parameters, secret, public, columns)
        with self._lock:
            self._kept[name] = found
            while len(self._kept) > 1 and sum(one.size_bytes for one in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)
        return found


_cache = _Cache(_KEPT_BYTES)


def _expanded(root: bytes, what: bytes) -> bytes:
    return HKDFExpand(algorithm=hashes.SHA256(), length=KEY_BYTES, info=what).derive(root)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CollectionKeys:
    """All keys of a collection's columns, derived from one secret.

    Attributes:
        root: 32 bytes, of this collection alone.
        parameters, layout: of the collection.
        key_id: of the key set.
    """

    root: Secret
    parameters: ParameterSet
    layout: CollectionLayout
    key_id: bytes

    def of(self, region: Region) -> ColumnKeys:
        """Returns the keys of a region's columns."""
        columns = self.layout.of(region).columns
        return _cache.get(self.root.reveal_secret(), self.parameters, region, columns)

    def fixed(self, purpose: str) -> Secret:
        """Returns a 32-byte key for one purpose."""
        return Secret(_expanded(self.root.reveal_secret(), purpose.encode()))
