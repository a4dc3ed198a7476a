"""Records of photos, pixels and vectors on streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from blindsight.errors import InvalidVector
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, Receiver, digest
from blindsight.wire.metadata import Metadata
from blindsight.wire.records import Record
from blindsight.wire.vectors import PhotoVector, VectorLabel

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FileHeader(Record[pb.FileHeader]):
    """The header of a photo; its chunks follow.

    Attributes:
        name: for display; may be empty.
        sha256: SHA-256 of the photo; None: only its size is checked.
        id: id of the item; empty: a keyed hash of the content.
        metadata: of an ingested photo; None: nothing of its own.
        vectors: of its owner's.
    """

    name: str
    size_bytes: int
    sha256: bytes | None = None
    id: str = ""
    metadata: Metadata | None = None
    vectors: tuple[PhotoVector, ...] = ()

    @classmethod
    def of(cls, data: bytes, name: str = "") -> Self:
        """Returns the header of a photo."""
        return cls(name, len(data), digest(data))

    def receiver(self) -> Receiver:
        """Returns a receiver of the photo's chunks.

        Raises:
            ResourceExhausted: if the announced size is over the limit of a photo.
            InvalidArgument: if the digest is not 32 bytes.
        """
        return Receiver(self.size_bytes, self.sha256, limit_bytes=MAX_PHOTO_BYTES, what="a photo")


@dataclass(frozen=True, slots=True, eq=False)
class VectorBlock(Record[pb.VectorBlock]):
    """Rows of a matrix.

    Attributes:
        values: float32 [rows, dimension].
        ids: one for each row; empty: rows are numbered from the number of items ever stored.
        metadata: of ingested rows, one for each; empty: of none.
    """

    values: npt.NDArray[np.float32]
    ids: tuple[str, ...] = ()
    metadata: tuple[Metadata, ...] = ()

    def to_message(self) -> pb.VectorBlock:
        """Converts the block to its message, with little-endian values."""
        values = self.values.astype("<f4", copy=False)
        said = [one.to_message() for one in self.metadata]
        return pb.VectorBlock(values=values.tobytes(), ids=self.ids, dimension=values.shape[1], metadata=said)

    @classmethod
    def from_message(cls, message: pb.VectorBlock) -> VectorBlock:
        """Makes the block from its message; `values` is a view of the message's bytes.

        Raises:
            InvalidVector: if the bytes are not a whole number of rows of the dimension.
        """
        import numpy as np  # imported late: it is slow to import, and photos do not need it

        values, dimension = message.values, message.dimension
        if dimension < 1 or not values or len(values) % (4 * dimension):
            raise InvalidVector(f"{len(values)} bytes of vectors, want rows of {dimension} float32 values")
        rows = np.frombuffer(values, "<f4").reshape(-1, dimension)
        return cls(rows, tuple(message.ids), tuple(map(Metadata.from_message, message.metadata)))


@dataclass(frozen=True, slots=True, eq=False)
class ItemVector(Record[pb.GetVectorResponse]):
    """The vector of an item, as it can be told from its encrypted columns.

    Attributes:
        values: float32 [dimension], rounded.
        precision: what is lost of them, as human-readable text.
        label: which of the item's vectors it is; None: it has one without name and box.
    """

    values: npt.NDArray[np.float32]
    precision: str
    label: VectorLabel | None = None

    def to_message(self) -> pb.GetVectorResponse:
        """Converts the vector to its message, with little-endian values."""
        values = self.values.astype("<f4", copy=False)
        message = pb.GetVectorResponse(values=values.tobytes(), precision=self.precision)
        if self.label is not None:
            message.label.CopyFrom(self.label.to_message())
        return message

    @classmethod
    def from_message(cls, message: pb.GetVectorResponse) -> ItemVector:
        """Makes the vector from its message.

        Raises:
            InvalidVector: if the bytes are not float32 values.
        """
        import numpy as np

        if len(message.values) % 4 or not message.values:
            raise InvalidVector(f"{len(message.values)} bytes of a vector, want float32 values")
        label = VectorLabel.from_message(message.label) if message.HasField("label") else None
        return cls(np.frombuffer(message.values, "<f4"), message.precision, label)


@dataclass(frozen=True, slots=True)
class OriginalHeader(Record[pb.OriginalHeader]):
    """The header of a photo as it was ingested; its chunks follow."""

    id: str
    name: str
    media_type: str
    size_bytes: int
    sha256: bytes

    @classmethod
    def of(cls, data: bytes, *, id: str, name: str, media_type: str) -> Self:  # noqa: A002 - as the field
        """Returns the header of a photo."""
        return cls(id, name, media_type, len(data), digest(data))


@dataclass(frozen=True, slots=True)
class PlanesHeader(Record[pb.PlanesHeader]):
    """The header of a photo's pixels; their chunks follow.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        sha256: SHA-256 of the pixels, uint8 [height, width, channels].
    """

    id: str
    name: str
    width: int
    height: int
    channels: int
    sha256: bytes

    @classmethod
    def of(cls, image: npt.NDArray[Any], *, id: str, name: str) -> tuple[Self, bytes]:  # noqa: A002 - as above
        """Returns the header of uint8 pixels [height, width] or [height, width, 3], and their bytes."""
        data = image.tobytes()
        channels = 1 if image.ndim == 2 else image.shape[2]
        return cls(id, name, image.shape[1], image.shape[0], channels, digest(data)), data

    @property
    def size_bytes(self) -> int:
        """The size of the pixels."""
        return self.width * self.height * self.channels

    def pixels(self, data: bytes) -> npt.NDArray[np.uint8]:
        """Returns received pixels as an array: [height, width] or [height, width, 3]."""
        import numpy as np

        return np.frombuffer(data, np.uint8).reshape(shape_of(self)).copy()


def shape_of(header: Any) -> tuple[int, ...]:
    """Returns (height, width) for one channel, else (height, width, channels)."""
    return (header.height, header.width) + ((header.channels,) if header.channels > 1 else ())
