"""Inputs of every supported kind (paths, folders, globs, bytes, images, arrays) as photos to send."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

from blindsight.client import kinds, sidecars, sources
from blindsight.client.arguments import identifier, several
from blindsight.client.sources import Source
from blindsight.errors import BlindsightError, InvalidArgument, InvalidImage, ResourceExhausted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from blindsight.wire.vectors import PhotoVector

Values: TypeAlias = Mapping[str, Any]
ImageInput: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | npt.NDArray[np.uint8] | Source"
)
OneInput: TypeAlias = "ImageInput | tuple[str, ImageInput] | Photo"
QueryInput: TypeAlias = "ImageInput | tuple[str, ImageInput]"
Inputs: TypeAlias = "OneInput | Iterable[OneInput]"

# Pillow's modes that PNG can store without conversion.
_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo with an id of one's own, with metadata, or with vectors.

    Attributes:
        image: as for `Collection.ingest`; no folder.
        id: of the item, a text or a whole number; empty: the keyholder makes it of the content.
        metadata: texts, numbers, true and false, lists of texts, times with a time zone.
        name: for display; empty: that of the file.
        vector: numbers [dimension] of one's own, which embedder external needs.
        vectors: instead of it several, at most 256: numbers, or with names and boxes as `PhotoVector`.
    """

    image: ImageInput
    id: str | int = ""
    metadata: Values = field(default_factory=dict)
    name: str = ""
    vector: npt.ArrayLike | None = None
    vectors: Sequence[PhotoVector | npt.ArrayLike] = ()


class Sieve:
    """What becomes of files that are no photos: found in folders they are left out, named they are refused.

    Args:
        any: whether all files are let through.
        sidecar: whether those that are let through get the sidecar files beside them.

    Attributes:
        hidden: number of hidden files and folders that were left out.
    """

    def __init__(self, *, any: bool = False, sidecar: bool = False) -> None:  # noqa: A002 - the SDK's word
        self._any = any
        self._sidecar = sidecar
        self._skipped = 0
        self.hidden = 0
        self._skipped_json: set[str] = set()  # which of these are sidecar files is known at the end
        self._sidecars: set[str] = set()

    @property
    def skipped(self) -> int:
        """The number of files that were left out, hidden ones included; sidecar files are none."""
        return self.hidden + self._skipped + len(self._skipped_json - self._sidecars)

    def passing(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yields the sources that are let through; those that are to be refused are, once they are loaded."""
        for source in sources:
            if source.hidden:
                self.hidden += 1
            elif source.label in self._sidecars and Path(source.label).is_dir():
                continue  # a link to a folder: its photo is told of it
            elif self._any:
                yield self._beside(source)
            elif not source.found:
                yield self._beside(replace(source, load=partial(_load_photo, source)))
            elif self._sidecar and source.label.endswith(sidecars.SUFFIX):
                # One that cannot be read is told of with its photo.
                if kinds.is_photo_file(Path(source.label), unreadable=False):
                    yield self._beside(source)
                else:
                    self._skipped_json.add(source.label)
            elif kinds.is_photo_file(Path(source.label)):
                yield self._beside(source)
            else:
                self._skipped += 1

    def _beside(self, source: Source) -> Source:
        if not self._sidecar or not source.on_disk:
            return source
        sidecar = sidecars.beside(Path(source.label))
        if sidecar is None:
            return source
        self._sidecars.add(str(sidecar))
        return replace(source, sidecar=sidecar)


def _load_photo(source: Source) -> bytes:
    data = source.load()
    if data and not any(kinds.is_photo(name, data[:16]) for name in (source.label, source.name)):
        raise InvalidImage(
            "no photo by its name or content: want one, or --any (any=True) to keep every file"
        )
    return data


def expand(inputs: Inputs, sieve: Sieve | None = None) -> tuple[Iterable[Source], int | None]:
    """Returns the photos of inputs, and their number; None if the inputs are an iterator.

    Folders are searched recursively, and what is hidden is left out and counted; a string that is not a path
    may be a glob.  A link to a folder, or one that cannot be listed, is there too, and refuses to load.

    Args:
        sieve: leaves out what is no photo; None: all files are photos.

    Raises:
        InvalidArgument: if a path does not exist, a glob matches nothing, or an input is not of a supported
            type.
    """
    sieve = sieve or Sieve(any=True)
    if _is_single(inputs):
        found = list(sieve.passing(_sources(inputs, 0)))
        return found, len(found)
    if not isinstance(inputs, Iterable):
        raise InvalidArgument(f"input of type {type(inputs).__name__}, want paths, bytes, images or arrays")
    every = (source for position, one in enumerate(inputs) for source in _sources(one, position))
    if not isinstance(inputs, Sequence):
        return sieve.passing(every), None
    found = list(sieve.passing(_without_repeats(every)))
    return found, len(found)


def single(image: ImageInput | tuple[str, ImageInput]) -> Source:
    """Returns the photo of an input that must be a single one.

    Raises:
        InvalidArgument: if the path does not exist, or is a folder or a glob, or the type is not supported.
    """
    if isinstance(image, str | os.PathLike):
        return sources.one(_path(image))
    return next(_sources(image, 0))


def queries(images: QueryInput | Sequence[QueryInput]) -> list[Source]:
    """Returns the photos of an input that is one, or a list of them.

    Raises:
        InvalidArgument: if there is none, or one is not as `single` wants it.
    """
    several: Any = images if isinstance(images, list) else [images]
    if not several:
        raise InvalidArgument("no photo to look for, want at least one")
    return [single(one) for one in several]


def load(source: Source) -> bytes:
    """Reads or encodes a photo; unlike `Source.load` it puts the photo's name into the error.

    Raises:
        InvalidImage, ResourceExhausted: if the photo cannot be sent.
    """
    try:
        return source.load()
    except (InvalidImage, ResourceExhausted) as error:
        raise _naming((source,), error) from None


@contextmanager
def named(*photos: Source) -> Iterator[None]:
    """Puts the name of the photo that it is about into the InvalidImage that a call with photos raises.

    The keyholder is not told names, and says by number which of several photos it means.
    """
    try:
        yield
    except InvalidImage as error:
        number = error.metadata.get("photo", "")
        about = photos[int(number) :][:1] if number.isascii() and number.isdigit() else ()
        if about and len(photos) > 1 and not about[0].name:
            about = (replace(about[0], label=f"photo {int(number) + 1}", name="of no file"),)
        raise _naming(about or photos, error) from None


@contextmanager
def query_named(photos: Sequence[Source]) -> Iterator[None]:
    """Puts the name of the photo that it is about into the InvalidImage that a search raises."""
    try:
        yield
    except InvalidImage as error:
        number = error.metadata.get("query", "0")
        about = int(number) if number.isascii() and number.isdigit() and int(number) < len(photos) else 0
        raise _naming(photos[about : about + 1], error) from None


def _naming(photos: Sequence[Source], error: BlindsightError) -> BlindsightError:
    labels = {photo.label for photo in photos}
    if len(labels) > 1 or not all(photo.name for photo in photos):
        return error
    return type(error)(": ".join([*labels, error.message]), **error.metadata)


def _is_single(inputs: Any) -> bool:
    if isinstance(inputs, tuple):
        return (
            len(inputs) == 2 and isinstance(inputs[0], str) and not isinstance(inputs[1], str | os.PathLike)
        )
    return isinstance(inputs, str | os.PathLike | bytes | bytearray | memoryview | Photo) or _is_pixels(
        inputs
    )


def _is_pixels(one: Any) -> bool:
    # Asked of the type, because the attribute of an instance makes Pillow encode the whole image.
    return hasattr(type(one), "__array_interface__")


def _without_repeats(found: Iterable[Source]) -> list[Source]:
    # A glob and a folder may both find a file; photos in memory have no path to compare.
    kept: dict[object, Source] = {}
    for source in found:
        kept.setdefault(source.label if source.on_disk else len(kept), source)
    return list(kept.values())


def _sources(one: Any, position: int) -> Iterator[Source]:
    if isinstance(one, Source):  # already expanded by a caller that needed the number of photos
        yield one
        return
    if isinstance(one, Photo):
        yield _told(one, position)
        return
    if isinstance(one, str | os.PathLike):
        yield from sources.found(_path(one))
        return
    name = ""
    if isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str):
        name, one = one
    label = name or f"input {position}"
    if isinstance(one, str | os.PathLike):
        for source in sources.found(_path(one)):
            yield replace(source, name=sources.text(name))
    elif isinstance(one, bytes | bytearray | memoryview):
        yield Source(label, sources.text(name), partial(sources.limited, one))
    elif _is_pixels(one):
        yield Source(label, sources.text(name), partial(_png, one))
    else:
        kind = type(one).__name__
        raise InvalidArgument(f"input {position} of type {kind}, want a path, bytes, an image or an array")


def _path(given: str | os.PathLike[str]) -> str:
    """Returns a path as a text.

    Raises:
        InvalidArgument: if it is an object of pathlib and empty, or that of this folder: they are the same.
    """
    if isinstance(given, PurePath) and not given.parts:
        raise InvalidArgument("an empty path, want a file, a folder or a glob; this folder is Path.cwd()")
    return os.fspath(given)


def _told(photo: Photo, position: int) -> Source:
    """Returns the source of a photo with what its owner says of it.

    Raises:
        BlindsightError: if something of it is wrong; the message names the photo by its id, or else its path.
    """
    from blindsight.wire.metadata import checked  # imported late: most photos come without

    image = photo.image
    source = single(image) if isinstance(image, str | os.PathLike) else next(_sources(image, position))
    about = source.label
    try:
        name = sources.text(photo.name) if photo.name else source.name
        item_id = identifier("id", photo.id)
        about = f"item {item_id!r:.80}" if item_id else about
        return replace(
            source, name=name, id=item_id, metadata=checked(photo.metadata), vectors=_vectors(photo)
        )
    except BlindsightError as error:
        raise type(error)(f"{about}: {error.message}", **error.metadata) from None


def _vectors(photo: Photo) -> tuple[PhotoVector, ...]:
    given = several("vectors of a photo", photo.vectors, "a list of vectors")
    if photo.vector is not None:
        if given:
            raise InvalidArgument("vector and vectors of a photo, want one of them")
        given = [photo.vector]
    if not given:
        return ()
    from blindsight.client import vectors  # imported late: numpy is slow to import

    return vectors.of_photo(given)


def _png(pixels: Any) -> bytes:
    from PIL import Image, ImageOps

    image = pixels if isinstance(pixels, Image.Image) else _from_array(pixels)
    encoded = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)  # the EXIF orientation would be lost in the PNG
        if upright.mode not in _PNG_MODES:
            upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        upright.save(encoded, "PNG", compress_level=1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidImage(f"the image cannot be encoded as PNG: {type(error).__name__}") from error
    return sources.limited(encoded.getvalue())


def _from_array(array: Any) -> Image.Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(array)
    rgb = values.ndim == 3 and values.shape[2] == 3
    if values.dtype != np.uint8 or not (values.ndim == 2 or rgb) or 0 in values.shape:
        got = f"{values.dtype.name} {list(values.shape)}"
        raise InvalidImage(f"array of {got}, want uint8 [height, width] or [height, width, 3]")
    return Image.fromarray(values)
