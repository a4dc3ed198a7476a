"""Pictures of reports: as the vault sees them."""

import io

import pytest
from PIL import Image

from blindsight.cli.pixels import upright
from blindsight.cli.search import gallery

CLEAR_RED = Image.new("RGBA", (40, 30), (255, 0, 0, 0))


def saved(image, **options):
    with io.BytesIO() as file:
        image.save(file, "PNG", **options)
        return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        saved(CLEAR_RED),
        saved(Image.new("LA", (40, 30), (0, 0))),
        saved(Image.new("P", (40, 30)), transparency=0),
        saved(Image.new("RGB", (40, 30)), transparency=(0, 0, 0)),
    ],
    ids=["RGBA", "LA", "P", "RGB"],
)
def test_what_is_transparent_is_white(data):
    assert upright(Image.open(io.BytesIO(data))).getpixel((5, 5)) == (255, 255, 255)
    shown = gallery._drawn(data, 100)
    assert Image.open(io.BytesIO(shown["data"])).getpixel((5, 5)) == (255, 255, 255)


def test_what_is_turned_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(Image.new("L", (40, 30)), exif=exif)
    assert upright(Image.open(io.BytesIO(turned))).size == (30, 40)
