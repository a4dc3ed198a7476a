"""Plain records that parts of the keyholder exchange."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from itertools import starmap
from typing import Any

from blindsight.errors import DataLoss, ResourceExhausted
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.trusted import embedders
from blindsight.trusted.embedders.pixels import CHANNELS
from blindsight.trusted.similarity import make
from blindsight.trusted.similarity.linear import Linear, Metric
from blindsight.wire.metadata import Value, Values
from blindsight.wire.vectors import Box, VectorLabel

# As of packages: 1.2.3, 1.2.3rc1, 1.2.3+local.4 (PEP 440).
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,63}")
# Least sizes of records before they are sealed, in bytes; larger ones have twice as much, and so on.  Nearly
# all records of a kind have the least; a name of some 170 characters or more is told from shorter ones.
CONFIG_BYTES = 2048
PHOTO_METADATA_BYTES = 512
ID_METADATA_BYTES = 64
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """Settings of a collection that only its owner can read; storage keeps them sealed.

    Attributes:
        name: a display name.
        embedder: turns photos into vectors; "none" for the user's own vectors, "external" for photos with
            these.
        dimension: length of these vectors.
        metric: the measure of similarity.
        expected_size: number of vectors that the stride was planned for.
        max_norm: largest norm of a vector that fits; 0 until the first ingest sets it.
        parameter_set, stride: as in storage's record, which could otherwise choose a weaker encryption for
            what comes next.
        channels: colour channels of raw pixels, "grey" or "rgb"; "" for vectors of any other kind.
        aliases: other names, each with a number: of the collections that have an alias, the one with the
            highest number is meant, so that one write moves it.
        content_key: by which photos get their ids, in hex, since keys were rotated; "" for that of the keys.
        numbered_from: added to the number of items that there were, for the next vector without an id.
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
    aliases: Mapping[str, int] = field(default_factory=dict)
    content_key: str = field(default="", repr=False)
    numbered_from: int = 0

    def to_bytes(self) -> bytes:
        """Serialises the settings as JSON of a fixed size.

        Raises:
            ResourceExhausted: if the aliases do not fit.
        """
        text = json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > CONFIG_BYTES:
            raise ResourceExhausted(
                f"settings of {len(text)} bytes with {len(self.aliases)} aliases, want at most "
                f"{CONFIG_BYTES}: remove some aliases, or take shorter ones"
            )
        return _filled(text, CONFIG_BYTES)

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

    @property
    def takes_photos(self) -> bool:
        """Whether its items are photos, with vectors of their owner's or without."""
        return self.embedder != embedders.NONE

    @property
    def describes(self) -> bool:
        """Whether it makes the vectors of its photos itself."""
        return self.embedder not in (embedders.NONE, embedders.EXTERNAL)

    def linear(self) -> Linear:
        """Returns the metric as a linear form."""
        return make(self.metric, self.dimension, self.max_norm, CHANNELS.get(self.channels, 0))


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """Values of an item that only its owner can read; storage keeps it sealed.

    Attributes:
        name: of its file.
        media_type: of its file; "" for a vector.
        origin: hex id of the bulk-ingest message that brought the item, so that a message which is delivered
            again is recognised as stored; "" for items that came another way.
        added_microseconds: when it came, since 1970, by which lists are ordered; 0 for a vector that has
            nothing but its id.
        size_bytes: of its file; 0 without one.
        remark: what a search does not find of it, for people.
        values: what its owner says of it.
        content: keyed hash of its file, if the id is its owner's; else the id is this hash.
        vectors: what is said of its vectors, if it has several, or one with a name or a box.
        vectors_digest: of the values of vectors that came with its file, to tell others from them; may be
            empty, as of an earlier version.
    """

    id: str
    name: str = ""
    media_type: str = ""
    origin: str = ""
    added_microseconds: int = 0
    size_bytes: int = 0
    remark: str = ""
    values: Values = field(default_factory=dict)
    content: str = ""
    vectors: tuple[VectorLabel, ...] = ()
    vectors_digest: str = ""

    def to_json(self) -> str:
        """Returns the metadata as a short text: there is one for each item."""
        values = [
            self.id,
            self.name,
            self.media_type,
            self.origin,
            self.added_microseconds,
            self.size_bytes,
            self.remark,
            packed(self.values),
            self.content,
            [_packed_label(one) for one in self.vectors],
            self.vectors_digest,
        ]
        while len(values) > 1 and not values[-1]:
            values.pop()
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ItemMetadata:
        """Parses what `to_json` wrote.

        Raises:
            DataLoss: if the text is damaged.
        """
        try:
            values = json.loads(text)
            if len(values) > _VALUES:
                values[_VALUES] = unpacked(values[_VALUES])
            if len(values) > _VECTORS:
                values[_VECTORS] = tuple(starmap(_unpacked_label, enumerate(values[_VECTORS])))
            if len(values) > _ADDED and values[_ADDED] < _LEAST_MICROSECONDS:
                values[_ADDED] *= 1000  # of an earlier version, which counted milliseconds
            return cls(*values)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise DataLoss("an item's metadata is damaged") from error

    @classmethod
    def values_of(cls, text: str) -> Values:
        """Returns the values alone of what `to_json` wrote: there may be a million.

        Raises:
            DataLoss: if the text is damaged.
        """
        try:
            values = json.loads(text)
            return unpacked(values[_VALUES]) if len(values) > _VALUES else {}
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise DataLoss("an item's metadata is damaged") from error

    def to_bytes(self) -> bytes:
        """Serialises the metadata as JSON of few sizes."""
        text = self.to_json().encode()
        return _filled(text, ID_METADATA_BYTES if self == ItemMetadata(self.id) else PHOTO_METADATA_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes) -> ItemMetadata:
        """Parses what `to_bytes` wrote.

        Raises:
            DataLoss: if the bytes are damaged.
        """
        try:
            metadata = cls.from_json(data.decode())
            alone = metadata == ItemMetadata(metadata.id)
            _unfilled(data, ID_METADATA_BYTES if alone else PHOTO_METADATA_BYTES)
        except (ValueError, TypeError) as error:
            raise DataLoss("an item's metadata is damaged") from error
        return metadata


# The year 1973 in microseconds, and 5138 in milliseconds.
_LEAST_MICROSECONDS = 10**14
_ADDED, _VALUES, _VECTORS = (
    [one.name for one in fields(ItemMetadata)].index(name)
    for name in ("added_microseconds", "values", "vectors")
)


@dataclass(frozen=True, slots=True, eq=False)
class NewPlanes:
    """Pixels that are encrypted chunk by chunk while they are sent to storage: uint8 [ciphertexts, N]."""

    layout: PlaneLayout
    tiles: Integers


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item on its way to storage, sealed except for its planes.

    Attributes:
        metadata: what is sealed in `sealed_metadata`; None if there is nothing, or it moves as it is.
        version: 8 bytes, to which what is sealed is bound, so that an item which is deleted and stored
            again cannot be given the old one's; empty if nothing is sealed.
        vectors: the number of its vectors, each of which takes a row.
    """

    handle: bytes
    sealed_metadata: bytes = b""
    sealed_original: bytes = b""
    planes: NewPlanes | None = None
    sealed_keypoints: bytes = b""
    version: bytes = b""
    metadata: ItemMetadata | None = None
    vectors: int = 1

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


def packed(values: Values) -> dict[str, object]:
    """Returns what an owner says of an item as JSON that keeps its types."""
    return {key: _packed(value) for key, value in values.items()}


def unpacked(values: Mapping[str, Any]) -> dict[str, Value]:
    """Returns what `packed` was given; raises ValueError, TypeError or AttributeError for anything else."""
    return {key: _unpacked(value) for key, value in values.items()}


def _packed_label(label: VectorLabel) -> list[object]:
    """Returns name and box of a vector as they stand in JSON, in the order of the vectors."""
    box = label.box
    return [label.name, [box.left, box.top, box.width, box.height] if box is not None else None]


def _unpacked_label(index: int, said: Sequence[Any]) -> VectorLabel:
    name, sides = said
    return VectorLabel(index, name, Box(*sides) if sides is not None else None)


def _packed(value: Value) -> object:
    """Returns a value as it stands in JSON; a time as its microseconds since 1970 in a list of one number."""
    return [(value - _EPOCH) // _MICROSECOND] if isinstance(value, datetime) else value


def _unpacked(value: Any) -> Value:
    if not isinstance(value, list):
        kept: Value = value
        return kept
    if value and isinstance(value[0], int):
        return _EPOCH + value[0] * _MICROSECOND
    return tuple(value)


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
