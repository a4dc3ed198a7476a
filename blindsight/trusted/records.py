"""Plain records that pass between the keyholder's rooms."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from blindsight.errors import DataLoss
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.trusted.embedders.pixels import CHANNELS
from blindsight.trusted.similarity import make
from blindsight.trusted.similarity.linear import Linear, Metric


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """What only the owner knows of a collection; storage keeps it sealed.

    Attributes:
        name: for people.
        embedder: turns photos into vectors; "none" for the user's own vectors.
        dimension: of those vectors.
        metric: how they are compared.
        expected_size: vectors that the stride was planned for.
        max_norm: longest vector that fits; 0 until the first ingest decides it.
        channels: colour channels of raw pixels, "grey" or "rgb"; "" for vectors of any other kind.
    """

    name: str
    embedder: str
    dimension: int
    metric: Metric
    expected_size: int
    max_norm: float
    channels: str = ""

    def to_bytes(self) -> bytes:
        """JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> CollectionConfig:
        """The inverse of `to_bytes`.

        Raises:
            DataLoss: when the bytes are something else.
        """
        try:
            values = json.loads(data)
            return cls(**{**values, "metric": Metric(values["metric"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss("a collection's settings are damaged") from error

    def linear(self) -> Linear:
        """The metric as a linear form."""
        return make(self.metric, self.dimension, self.max_norm, CHANNELS.get(self.channels, 0))


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """What only the owner knows of an item; storage keeps it sealed.

    Attributes:
        origin: the message of bulk ingest that brought it, in hex, so that one which comes a second time is
            known to have been stored; "" for items that came another way.
    """

    id: str
    name: str = ""
    media_type: str = ""
    origin: str = ""

    def to_bytes(self) -> bytes:
        """JSON, as short as it goes: there is one for each item."""
        if not self.name and not self.media_type:
            return json.dumps([self.id]).encode()
        origin = [self.origin] if self.origin else []
        return json.dumps([self.id, self.name, self.media_type, *origin], ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> ItemMetadata:
        """The inverse of `to_bytes`.

        Raises:
            DataLoss: when the bytes are something else.
        """
        try:
            return cls(*json.loads(data))
        except (ValueError, TypeError) as error:
            raise DataLoss("an item's metadata is damaged") from error


@dataclass(frozen=True, slots=True, eq=False)
class NewPlanes:
    """Pixels that are encrypted on their way to storage, piece by piece: uint8 tiles [ciphertexts, N]."""

    layout: PlaneLayout
    tiles: Integers


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item on its way to storage, sealed but for its planes."""

    handle: bytes
    sealed_metadata: bytes = b""
    sealed_original: bytes = b""
    planes: NewPlanes | None = None
    sealed_keypoints: bytes = b""

    @property
    def held_bytes(self) -> int:
        """Memory that its large parts take."""
        sealed = len(self.sealed_original) + len(self.sealed_keypoints)
        return sealed + (self.planes.tiles.nbytes if self.planes else 0)


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What a service says of itself."""

    version: str
    collections: int
    items: int
    disk_bytes: int
    memory_bytes: int
