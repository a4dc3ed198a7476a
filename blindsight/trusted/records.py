"""Plain records that parts of the keyholder exchange."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from blindsight.errors import DataLoss
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.trusted.embedders.pixels import CHANNELS
from blindsight.trusted.similarity import make
from blindsight.trusted.similarity.linear import Linear, Metric

# As of packages: 1.2.3, 1.2.3rc1, 1.2.3+local.4 (PEP 440).
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,63}")
# Least sizes of records before they are sealed, in bytes; larger ones have twice as much, and so on.  Nearly
# all records of a kind have the least; a name of some 170 characters or more is told from shorter ones.
CONFIG_BYTES = 2048
PHOTO_METADATA_BYTES = 256
ID_METADATA_BYTES = 64


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """Settings of a collection that only its owner can read; storage keeps them sealed.

    Attributes:
        name: a display name.
        embedder: turns photos into vectors; "none" for the user's own vectors.
        dimension: length of these vectors.
        metric: the measure of similarity.
        expected_size: number of vectors that the stride was planned for.
        max_norm: largest norm of a vector that fits; 0 until the first ingest sets it.
        parameter_set, stride: as in storage's record, which could otherwise choose a weaker encryption for
            what comes next.
        channels: colour channels of raw pixels, "grey" or "rgb"; "" for vectors of any other kind.
    """

    name: str
    embedder: str
    dimension: int
    metric: Metric
    expected_size: int
    max_norm: float
    parameter_set: str
    stride: int
    channels: str = ""

    def to_bytes(self) -> bytes:
        """Serialises the settings as JSON of a fixed size."""
        return _filled(json.dumps(asdict(self)).encode(), CONFIG_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes) -> CollectionConfig:
        """Parses what `to_bytes` wrote.

        Raises:
            DataLoss: if the bytes are damaged.
        """
        try:
            values = json.loads(_unfilled(data, CONFIG_BYTES))
            return cls(**{**values, "metric": Metric(values["metric"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss("a collection's settings are damaged") from error

    def linear(self) -> Linear:
        """Returns the metric as a linear form."""
        return make(self.metric, self.dimension, self.max_norm, CHANNELS.get(self.channels, 0))


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """Metadata of an item that only its owner can read; storage keeps it sealed.

    Attributes:
        origin: hex id of the bulk-ingest message that brought the item, so that a message which is delivered
            again is recognised as stored; "" for items that came another way.
    """

    id: str
    name: str = ""
    media_type: str = ""
    origin: str = ""

    def to_bytes(self) -> bytes:
        """Serialises the metadata as JSON of few sizes, kept short because there is one for each item."""
        if not (self.name or self.media_type or self.origin):
            return _filled(json.dumps([self.id]).encode(), ID_METADATA_BYTES)
        origin = [self.origin] if self.origin else []
        values = [self.id, self.name, self.media_type, *origin]
        return _filled(json.dumps(values, ensure_ascii=False).encode(), PHOTO_METADATA_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes) -> ItemMetadata:
        """Parses what `to_bytes` wrote.

        Raises:
            DataLoss: if the bytes are damaged.
        """
        try:
            values = json.loads(data)
            _unfilled(data, PHOTO_METADATA_BYTES if len(values) > 1 else ID_METADATA_BYTES)
            return cls(*values)
        except (ValueError, TypeError) as error:
            raise DataLoss("an item's metadata is damaged") from error


@dataclass(frozen=True, slots=True, eq=False)
class NewPlanes:
    """Pixels that are encrypted chunk by chunk while they are sent to storage: uint8 [ciphertexts, N]."""

    layout: PlaneLayout
    tiles: Integers


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item on its way to storage, sealed except for its planes.

    Attributes:
        version: 8 random bytes, to which what is sealed is bound, so that an item which is deleted and stored
            again cannot be given the old one's; empty if nothing is sealed.
    """

    handle: bytes
    sealed_metadata: bytes = b""
    sealed_original: bytes = b""
    planes: NewPlanes | None = None
    sealed_keypoints: bytes = b""
    version: bytes = b""

    @property
    def held_bytes(self) -> int:
        """The memory that its large parts take, in bytes."""
        sealed = len(self.sealed_original) + len(self.sealed_keypoints)
        return sealed + (self.planes.tiles.nbytes if self.planes else 0)


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """The status that a service reports of itself.

    Raises:
        DataLoss: if the version is not one, but other text.
    """

    version: str
    collections: int
    items: int
    disk_bytes: int
    memory_bytes: int

    def __post_init__(self) -> None:
        if not _VERSION.fullmatch(self.version):
            raise DataLoss(f"its version is {len(self.version)} characters that are no version number")


def _filled(text: bytes, least: int) -> bytes:
    """Returns a JSON text with blanks behind it, to the least size or that times a power of two."""
    size = least
    while size < len(text):
        size *= 2
    return text.ljust(size)


def _unfilled(filled: bytes, least: int) -> bytes:
    """Returns the text that `_filled` was given.

    Raises:
        ValueError: if the size is not that of such a text.
    """
    text = filled.rstrip(b" ")
    if filled != _filled(text, least):
        raise ValueError(f"{len(filled)} bytes for a record of {len(text)}")
    return text
