"""HEIC and HEIF, which pillow-heif decodes: an optional dependency that is imported when it is used."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from blindsight.errors import InvalidImage

FORMAT = "HEIF"
_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
# Those of Pillow's own decoder, whose files may name the general ones, too.
_AVIF_BRANDS = {b"avif", b"avis"}
_LONGEST_TYPE_BOX = 256


def is_heif(data: bytes) -> bool:
    """Returns whether a file says of itself that it is HEIF, and not AVIF."""
    if data[4:8] != b"ftyp":
        return False
    box = data[8 : min(int.from_bytes(data[:4], "big"), _LONGEST_TYPE_BOX)]
    brands = {box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))}
    return bool(brands & _BRANDS) and not brands & _AVIF_BRANDS


def require() -> None:
    """Lets Pillow open HEIF.

    Raises:
        InvalidImage: if pillow-heif is not installed; the message says what to install.
    """
    if not is_installed():
        raise InvalidImage(
            "photo is HEIC, and the decoder is not installed: want "
            "pip install 'blindsight-vault-trusted[heif]' on the keyholder's machine"
        )
    _register()


def is_installed() -> bool:
    """Returns whether pillow-heif is installed, without importing it."""
    return find_spec("pillow_heif") is not None


@cache
def _register() -> None:
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
