"""The pictures that a job is about: files, or stored photos that have encrypted planes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.parameters import ParameterSet, of_ring
from blindsight.planes import PlaneLayout
from blindsight.trusted.keyholder.collections.vault import OpenCollection, Vault
from blindsight.trusted.keyholder.crypto.pool import Crypto
from blindsight.trusted.keyholder.imaging.images import Colours
from blindsight.trusted.keyholder.operations.planes import Planes
from blindsight.trusted.keyholder.peers import StoredPlanes

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A photo of a collection, by the names that its owner gave."""

    collection: str
    id: str


Source = bytes | StoredImage


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A picture in the clear.

    Attributes:
        planes: uint8 [channels, height, width].
        remark: what was converted, for people.
    """

    planes: Bytes
    remark: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.planes.shape
        return channels, height, width

    def in_colour(self) -> Plain:
        """With three channels."""
        if len(self.planes) == 3:
            return self
        remark = "; ".join(filter(None, [self.remark, "grey taken as RGB, as the other picture is"]))
        return Plain(np.repeat(self.planes, 3, axis=0), remark)


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A stored photo, which nobody has decrypted.

    Attributes:
        collection, id: whose it is.
        parameters, layout: of its planes.
        planes: where they are.
    """

    collection: OpenCollection
    id: str
    parameters: ParameterSet
    layout: PlaneLayout
    planes: StoredPlanes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.layout.channels, self.layout.height, self.layout.width


Opened = Plain | Encrypted


class Pictures:
    """Opens pictures.

    Args:
        vault, planes, crypto: the keyholder's rooms.
    """

    def __init__(self, vault: Vault, planes: Planes, crypto: Crypto) -> None:
        self._vault = vault
        self._planes = planes
        self._crypto = crypto

    async def open(self, source: Source, colours: Colours) -> Opened:
        """A file's pixels, or where a stored photo's planes are.

        Raises:
            InvalidImage: for a file that is none.
            InvalidArgument: when a stored photo's colours are to be changed.
            NotFound: when there is no such collection or item, or it has no planes.
        """
        if isinstance(source, bytes):
            pixels = await self._crypto.pixels(source, colours)
            return Plain(planar(pixels.values), pixels.remark)
        if colours is not Colours.AS_THEY_ARE:
            raise InvalidArgument(
                "colours of a stored photo are those of its planes, want none to be asked for"
            )
        collection = await self._vault.get(source.collection)
        layout = await self._planes.layout(collection, source.id)
        handle = collection.handle(source.id)
        planes = StoredPlanes(collection.record.collection_id, handle)
        return Encrypted(collection, source.id, of_ring(collection.parameters, "planes"), layout, planes)

    async def shape(self, source: Source, colours: Colours) -> tuple[int, int, int]:
        """Channels, height and width of a picture; nothing is decoded or decrypted.

        Raises:
            As `open`.
        """
        if isinstance(source, bytes):
            return await self._crypto.plane_shape(source, colours)
        return (await self.open(source, colours)).shape

    async def decrypted(self, picture: Opened) -> Plain:
        """The pixels of any picture."""
        if isinstance(picture, Plain):
            return picture
        _, image = await self._planes.read(picture.collection, picture.id)
        return Plain(planar(image.astype(np.uint8)))


def planar(image: Bytes) -> Bytes:
    """[height, width] or [height, width, channels] to [channels, height, width]."""
    return np.ascontiguousarray(np.moveaxis(image.reshape(*image.shape[:2], -1), 2, 0))
