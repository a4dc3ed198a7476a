"""Records of the vectors of photos: a photo may have several, as one of each face, with names and boxes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from blindsight.errors import InvalidVector
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.records import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_VECTORS = 256
MOST_NAME_BYTES = 256
# Of all vectors of a photo: they travel in one message.
MOST_BYTES = 2 << 20
_FLOAT_BYTES = 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Box(Record[pb.Box]):
    """A rectangle of a photo, in pixels from its upper left corner."""

    left: float
    top: float
    width: float
    height: float

    def check(self) -> None:
        """Checks the numbers.

        Raises:
            InvalidVector: if one is not finite, or the rectangle is empty.
        """
        sides = self.left, self.top, self.width, self.height
        if not all(map(math.isfinite, sides)) or min(self.width, self.height) <= 0:
            raise InvalidVector(f"box {list(sides)}, want left, top, width and height, the last two over 0")


@dataclass(frozen=True, slots=True, eq=False)
class PhotoVector(Record[pb.PhotoVector]):
    """A vector that comes with a photo.

    Attributes:
        values: float32 [dimension].
        name: what it is of, for people and for who asks; may be empty.
        box: where in the photo that is; None: all of it, or unknown.
    """

    values: npt.NDArray[np.float32]
    name: str = ""
    box: Box | None = None

    def check(self) -> None:
        """Checks name and box.

        Raises:
            InvalidVector: if the name is too long or has a control character, or the box is none.
        """
        size = len(self.name.encode())
        if size > MOST_NAME_BYTES or _CONTROL.search(self.name):
            raise InvalidVector(
                f"a vector's name of {size} bytes, want text of one line and at most {MOST_NAME_BYTES} bytes"
            )
        if self.box is not None:
            self.box.check()

    def to_message(self) -> pb.PhotoVector:
        """Converts the vector to its message."""
        message = pb.PhotoVector(values=self.values.tolist(), name=self.name)
        if self.box is not None:
            message.box.CopyFrom(self.box.to_message())
        return message

    @classmethod
    def from_message(cls, message: pb.PhotoVector) -> PhotoVector:
        """Makes the vector from its message."""
        import numpy as np  # imported late: it is slow to import, and photos do not need it

        box = Box.from_message(message.box) if message.HasField("box") else None
        return cls(np.array(message.values, np.float32), message.name, box)


@dataclass(frozen=True, slots=True)
class VectorLabel(Record[pb.VectorLabel]):
    """Which vector of an item it is.

    Attributes:
        index: its place among the item's vectors, from 0.
        name, box: as it came, see `PhotoVector`.
    """

    index: int
    name: str = ""
    box: Box | None = None


def check_vectors(vectors: tuple[PhotoVector, ...]) -> None:
    """Checks the vectors of a photo, but for what the collection wants of them.

    Raises:
        InvalidVector: if they are too many or too large, or a name or a box is wrong.
    """
    size = size_bytes(vectors)
    if len(vectors) > MOST_VECTORS:
        raise InvalidVector(f"{len(vectors)} vectors of a photo, want at most {MOST_VECTORS}")
    if size > MOST_BYTES:
        raise InvalidVector(f"vectors of {size} bytes with a photo, want at most {MOST_BYTES}")
    for one in vectors:
        one.check()


def digest(vectors: tuple[PhotoVector, ...]) -> str:
    """Returns 16 hex digits by which the values of a photo's vectors are told from others; "" of none."""
    if not vectors:
        return ""
    made = sha256()
    for one in vectors:
        made.update(one.values.tobytes())
    return made.hexdigest()[:16]


def size_bytes(vectors: tuple[PhotoVector, ...]) -> int:
    """Returns the size of the vectors of a photo in a message, but for a few bytes."""
    return sum(_FLOAT_BYTES * one.values.size + len(one.name) for one in vectors)


def labels_of(vectors: tuple[PhotoVector, ...]) -> tuple[VectorLabel, ...]:
    """Returns what is kept of vectors beside their values; nothing of one without a name and a box."""
    if len(vectors) == 1 and not (vectors[0].name or vectors[0].box):
        return ()
    return tuple(VectorLabel(index, one.name, one.box) for index, one in enumerate(vectors))
