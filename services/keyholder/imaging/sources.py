"""The input pictures of jobs: files, or stored photos that have encrypted planes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidImage
from blindsight.packing.planes import PlaneLayout
from blindsight.parameters import ParameterSet, of_ring
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging.images import Colours, Pixels
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.imaging import StoredPhoto
from blindsight.wire.planes import StoredPlanes
from services.keyholder.imaging.engine import Account, PlaneScheme, Shape, StoredTiles
from services.keyholder.operations.naming import ItemName, naming, of_photo
from services.keyholder.operations.planes import Planes

Bytes = npt.NDArray[np.uint8]
_ANEW = "the keyholder decrypted them and encrypted them anew"
_CHANNELS = {Colours.GREY: 1, Colours.RGB: 3}
_NAMES = {1: "grey", 3: "RGB"}


Source = bytes | StoredPhoto


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """A picture file of which only the header was read.

    Attributes:
        data: the file.
        colours: the colours in which it is wanted.
        shape: shape of its planes in these colours.
    """

    data: bytes
    colours: Colours
    shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A picture in the clear.

    Attributes:
        planes: uint8 [channels, height, width].
        remark: a sentence on conversions; empty if there were none.
    """

    planes: Bytes
    remark: str = ""

    @property
    def shape(self) -> Shape:
        """Channels, height and width."""
        channels, height, width = self.planes.shape
        return channels, height, width

    def in_colour(self) -> Plain:
        """Returns the picture with three channels."""
        if len(self.planes) == 3:
            return self
        remark = "; ".join(filter(None, [self.remark, "grey taken as RGB, as the other picture is"]))
        return Plain(np.repeat(self.planes, 3, axis=0), remark)


@dataclass(frozen=True, slots=True, eq=False)
class Encrypted:
    """A stored photo whose planes are not decrypted.

    Attributes:
        collection, id: the photo's collection, and its id there.
        parameters, layout: parameter set and tiles of its planes.
        planes: its planes in storage.
        colours: the colours in which it is wanted.
    """

    collection: OpenCollection
    id: str
    parameters: ParameterSet
    layout: PlaneLayout
    planes: StoredTiles
    colours: Colours

    @property
    def shape(self) -> Shape:
        """Channels in the wanted colours, height and width."""
        channels = _CHANNELS.get(self.colours, self.layout.channels)
        return channels, self.layout.height, self.layout.width

    @property
    def scheme(self) -> str:
        """The name of the scheme of its planes."""
        return self.parameters.scheme.name.lower()

    @property
    def converted(self) -> bool:
        """Whether its planes have other colours than are wanted."""
        return self.shape[0] != self.layout.channels

    def unusable(self, scheme: PlaneScheme, reach: int = 0) -> str:
        """Returns why a job cannot compute with the planes as they are; empty if it can.

        Args:
            scheme: the job's scheme.
            reach: reach of its kernels in pixels.
        """
        if self.parameters.name != scheme.parameter_set:
            wanted = scheme.parameter_set or scheme.name
            return f"stored planes are of {self.parameters.name}, and the job is under {wanted}"
        if self.converted:
            stored, wanted = _NAMES[self.layout.channels], _NAMES[self.shape[0]]
            return f"stored planes are {stored}, and {wanted} was asked for"
        return self.short_of(reach)

    def short_of(self, reach: int) -> str:
        """Returns why the halo of the planes is too narrow; empty if it is wide enough."""
        if reach > self.layout.halo:
            return f"stored planes have a halo of {self.layout.halo} pixels, and the kernel reaches {reach}"
        return ""


# A picture before a file is decoded, and afterwards; planes are encrypted in both.
Known = ImageFile | Encrypted
Opened = Plain | Encrypted


def collections_of(*sources: Source) -> str:
    """Returns the names of the collections that sources are in, for people."""
    names = {one.collection for one in sources if isinstance(one, StoredPhoto)}
    return ", ".join(sorted(names)) or "pictures of no collection"


def items_of(*sources: Source) -> list[ItemName]:
    """Returns the names of the stored photos among sources."""
    return [(one.collection, one.id) for one in sources if isinstance(one, StoredPhoto)]


class Pictures:
    """The reader of pictures: headers when a job is planned, pixels when it runs.

    Args:
        vault: the collections.
        planes: reads stored planes.
        crypto: worker processes that decode files.
    """

    def __init__(self, vault: Vault, planes: Planes, crypto: Crypto) -> None:
        self._vault = vault
        self._planes = planes
        self._crypto = crypto

    async def look(self, source: Source, colours: Colours) -> Known:
        """Returns what is known of a picture before it is decoded or decrypted.

        Raises:
            InvalidImage: if the header of a file is not that of an image, or the image is too large.
            NotFound: if the collection or the item does not exist, or the item has no planes.
        """
        if isinstance(source, bytes):
            return ImageFile(source, colours, await self._crypto.plane_shape(source, colours))
        with naming(*items_of(source)):
            collection = await self._vault.get(source.collection)
            opened = await self._planes.open(collection, source.id)
        reference = StoredPlanes(collection.record.collection_id, collection.handle(source.id))
        planes = StoredTiles(reference, opened.record.combination)
        parameters = of_ring(collection.parameters, "planes")
        return Encrypted(collection, source.id, parameters, opened.layout, planes, colours)

    async def look_all(self, sources: Sequence[Source], colours: Colours) -> list[Known]:
        """Returns what is known of pictures, like `look`; `metadata` of an InvalidImage says of which."""
        known = []
        for number, source in enumerate(sources):
            with of_photo(number):
                known.append(await self.look(source, colours))
        return known

    async def open(self, picture: Known) -> Opened:
        """Decodes a file; returns a stored photo as it is.

        Raises:
            InvalidImage: if the file cannot be decoded, or its shape is not that of its header.
        """
        if isinstance(picture, Encrypted):
            return picture
        pixels = await self._crypto.pixels(picture.data, picture.colours)
        plain = Plain(planar(pixels.values), pixels.remark)
        if plain.shape != picture.shape:
            raise InvalidImage(f"picture of {plain.shape}, want {picture.shape} as in its header")
        return plain

    async def decrypted(self, picture: Opened, account: Account, why: str, then: str = _ANEW) -> Plain:
        """Returns the pixels of any picture; if it decrypts stored planes, it records why in the account."""
        if isinstance(picture, Plain):
            return picture
        account.note_decrypted(f"{why}: {then}")
        return await self.clear(picture)

    async def clear(self, picture: Encrypted) -> Plain:
        """Decrypts the pixels of a stored photo, in the wanted colours."""
        with naming((picture.collection.config.name, picture.id)):
            _, image = await self._planes.read(picture.collection, picture.id)
        whole = Pixels(image.astype(np.uint8), "")
        seen = await asyncio.to_thread(whole.brought_to, picture.colours)
        return Plain(planar(seen.values), seen.remark)


def planar(image: Bytes) -> Bytes:
    """Converts [height, width] or [height, width, channels] to [channels, height, width]."""
    return np.ascontiguousarray(np.moveaxis(image.reshape(*image.shape[:2], -1), 2, 0))
