import io
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo
from support import oddities

from blindsight.errors import InvalidImage
from blindsight.trusted.imaging import heif, images
from blindsight.trusted.imaging.images import Colours

ORIENTATION = 0x0112
heif.require()  # Pillow writes HEIF then, too


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(skimage.data.astronaut()).resize((96, 64))


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def difference(one, other):
    """The mean difference of two pictures' pixels, of 255."""
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())


def png_that_announces(width, height):
    """A PNG whose header promises a picture that its few bytes of pixels do not hold."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


FORMATS = {
    "avif": ("AVIF", {"quality": 90}, "image/avif"),
    "bmp": ("BMP", {}, "image/bmp"),
    "gif": ("GIF", {}, "image/gif"),
    "heic": ("HEIF", {"quality": 95}, "image/heif"),
    "jpeg": ("JPEG", {"quality": 95}, "image/jpeg"),
    "jpeg 2000": ("JPEG2000", {}, "image/jp2"),
    "progressive jpeg": ("JPEG", {"quality": 95, "progressive": True}, "image/jpeg"),
    "png": ("PNG", {}, "image/png"),
    "pnm": ("PPM", {}, "image/x-portable-anymap"),
    "tiff": ("TIFF", {}, "image/tiff"),
    "webp": ("WEBP", {"quality": 95}, "image/webp"),
}


@pytest.fixture(params=FORMATS, ids=lambda name: name.replace(" ", "-"))
def format_of(request):
    return FORMATS[request.param]


# --- what is accepted ----------------------------------------------------------------------------


def test_every_accepted_format_shows_the_same_photo(photo, format_of):
    kind, options, media_type = format_of
    data = encoded(photo, kind, **options)
    picture = images.decode(data)
    assert (picture.mode, picture.size) == ("RGB", photo.size)
    # GIF has 256 colours; the others are lossless or nearly so.
    assert difference(picture, photo) < (12 if kind == "GIF" else 4)
    assert images.media_type(data) == media_type


def test_every_accepted_format_is_tried_here():
    assert {media_type for _, _, media_type in FORMATS.values()} == set(images.MEDIA_TYPES.values())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["HEIF", "JPEG", "PNG", "WEBP"])
def test_a_photo_is_upright_however_the_camera_was_held(photo, orientation, kind):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Transpose that stores the photo that way
    stored = photo if orientation == 1 else photo.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"JPEG": {"quality": 95}, "HEIF": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    picture = images.decode(encoded(stored, kind, exif=exif.tobytes(), **options))
    assert picture.size == photo.size
    assert difference(picture, photo) < 4


def test_the_picture_carries_no_metadata(photo):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    picture = images.decode(encoded(photo, "JPEG", exif=exif, comment=b"a comment", dpi=(72, 72)))
    assert picture.info == {}
    assert len(picture.getexif()) == 0


def test_damaged_metadata_does_not_cost_the_photo(photo):
    data = encoded(photo, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert difference(images.decode(data), photo) < 8


def test_transparency_becomes_white():
    clear = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (200, 0, 0, 128))
    assert images.decode(encoded(clear)).getpixel((4, 4)) == (255, 255, 255)
    assert images.decode(encoded(half)).getpixel((4, 4)) == pytest.approx((227, 127, 127), abs=1)


def test_a_transparent_colour_of_a_palette_becomes_white():
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    ImageDraw.Draw(picture).rectangle((0, 0, 3, 7), 0)
    decoded = images.decode(encoded(picture, transparency=0))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((7, 7)) == (10, 200, 30)


def test_a_palette_becomes_its_colours(photo):
    palette = photo.quantize(64)
    assert difference(images.decode(encoded(palette)), palette.convert("RGB")) == 0


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_becomes_rgb(photo, mode):
    grey = photo.convert(mode)
    assert difference(images.decode(encoded(grey)), grey.convert("RGB")) == 0


@pytest.mark.parametrize("kind", ["JPEG2000", "PNG", "PPM", "TIFF"])
def test_sixteen_bits_keep_their_brightness(photo, kind):
    grey = photo.convert("L")
    values = np.asarray(grey).astype(np.uint16)
    # The low byte runs against the high one, so that taking the wrong byte shows.
    deep = Image.fromarray(values * 256 + (255 - values))
    assert deep.mode == "I;16"
    assert difference(images.decode(encoded(deep, kind)), grey.convert("RGB")) < 1


def test_floats_are_stretched_to_their_range():
    ramp = Image.fromarray(np.linspace(-2.0, 6.0, 64, dtype=np.float32).reshape(8, 8))
    picture = images.decode(encoded(ramp, "TIFF"))
    assert [picture.getpixel(at)[0] for at in ((0, 0), (7, 7))] == [0, 255]


def test_one_flat_float_is_a_picture():
    flat = Image.fromarray(np.full((8, 8), 3.5, np.float32))
    assert images.decode(encoded(flat, "TIFF")).getextrema() == ((0, 0),) * 3


def test_cmyk_keeps_its_colours(photo):
    picture = images.decode(encoded(photo.convert("CMYK"), "JPEG", quality=95))
    assert difference(picture, photo) < 6


def test_an_animation_gives_its_first_frame(photo):
    frames = [ImageOps.invert(photo), photo]
    data = encoded(photo, "GIF", save_all=True, append_images=frames, duration=50)
    assert difference(images.decode(data), photo) < 12


def test_a_file_of_several_photos_gives_the_first_as_jpeg(photo):
    data = encoded(photo, "MPO", save_all=True, append_images=[ImageOps.invert(photo)], quality=95)
    assert difference(images.decode(data), photo) < 4
    assert images.media_type(data) == "image/jpeg"


# --- large photos --------------------------------------------------------------------------------


def test_a_large_jpeg_comes_no_smaller_than_asked(photo):
    data = encoded(photo.resize((1000, 700)), "JPEG")
    assert images.decode(data, at_least=100).size == (250, 175)
    assert images.decode(data, at_least=350).size == (500, 350)
    assert images.decode(data, at_least=351).size == (1000, 700)
    assert images.decode(data, at_least=5000).size == (1000, 700)


def test_a_photo_of_40_megapixels_is_decoded_in_bounded_memory(tmp_path):
    path = tmp_path / "large.jpg"
    Image.fromarray(skimage.data.astronaut()).resize((7300, 5500)).save(path)
    script = """
        import resource, sys
        from pathlib import Path
        from blindsight.trusted.imaging import images

        data = Path(sys.argv[1]).read_bytes()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        small = images.decode(data, at_least=256)
        reduced = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        full = images.decode(data)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(*small.size, *full.size, reduced - before, after - before)
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), path], check=True, capture_output=True, text=True
    )
    width, height, full_width, full_height, reduced_kib, full_kib = map(int, answer.stdout.split())
    assert (width, height, full_width, full_height) == (913, 688, 7300, 5500)
    # Pillow keeps four bytes a pixel: 40 megapixels are 157 MiB, and the conversion copies them once.
    assert reduced_kib < 64 * 1024
    assert full_kib < 450 * 1024


# --- what other programs show --------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_nothing_but_its_end_is_a_photo(photo, missing, progressive):
    whole = encoded(photo, "JPEG", progressive=progressive)
    assert difference(images.decode(whole[:-missing]), images.decode(whole)) == 0
    assert difference(images.pixels(whole[:-missing]).values, images.pixels(whole).values) == 0


@pytest.mark.parametrize("behind", [b"\0", b"a trailer", b"\xff"])
def test_what_follows_a_photo_does_not_cost_it(photo, behind):
    data = encoded(photo, "JPEG")
    assert difference(images.decode(data + behind), images.decode(data)) == 0


@pytest.mark.parametrize("missing", [12, 100, 1000])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_pixels_stays_truncated_with_an_end_of_its_own(photo, missing, progressive):
    data = encoded(photo, "JPEG", progressive=progressive)[:-missing]
    with pytest.raises(InvalidImage, match="photo is truncated"):
        images.decode(data)


BALLAST = {
    "a wrong checksum": oddities.chunk(b"tIME", bytes(7), checksum=1),
    "text with a wrong checksum": oddities.chunk(b"tEXt", b"Comment\0text", checksum=1),
    "megabytes of text": oddities.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5_000_000))),
    "much more text than fits into memory": b"".join(
        oddities.chunk(b"tEXt", b"Comment\0" + bytes(900_000)) for _ in range(60)
    ),
    "a profile of megabytes": oddities.chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(5_000_000))),
    "a profile that is none": oddities.chunk(b"iCCP", b"name\0\0no profile"),
}


@pytest.mark.parametrize("name", BALLAST)
@pytest.mark.parametrize("behind", [False, True])
def test_what_no_pixel_of_a_png_needs_does_not_cost_it(photo, name, behind):
    data = encoded(photo)
    place = -12 if behind else 33
    data = data[:place] + BALLAST[name] + data[place:]
    assert difference(images.decode(data), photo) == 0
    assert images.media_type(data) == "image/png"


def test_a_png_loses_neither_orientation_nor_transparency_with_its_ballast(photo):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    for options in ({"exif": exif}, {"pnginfo": texts}):
        data = encoded(photo.convert("RGBA"), icc_profile=bytes(100), **options)
        assert images.decode(data).size == photo.size[::-1], options
    clear = oddities.png_with(BALLAST["a profile of megabytes"], picture=oddities.transparent(photo))
    assert images.decode(clear).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("length", [0, 3, 0xFFFFFFFF])
def test_a_png_with_a_chunk_that_does_not_end_is_the_decoders_affair(photo, length):
    data = encoded(photo)
    with pytest.raises(InvalidImage):
        images.decode(data[:33] + length.to_bytes(4, "big") + b"IDAT")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("PA", "TIFF"), ("RGBA", "TIFF"), ("LA", "JPEG2000")],
)
def test_transparency_is_white_whatever_its_mode(photo, mode, kind):
    clear = oddities.transparent(photo)
    data = encoded(clear.quantize(64) if mode == "P" else clear.convert(mode), kind)
    assert images.decode(data).getpixel((0, 0)) == (255, 255, 255)


def test_heic_is_decoded_by_pillow_heif_and_named_where_it_is_missing(photo, monkeypatch):
    data = oddities.heic(photo, quality=95)
    assert difference(images.decode(data), photo) < 4
    transparent = images.decode(oddities.heic(oddities.transparent(photo), quality=95))
    assert transparent.getpixel((2, 2)) == (255, 255, 255)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(images.heif, "find_spec", lambda name: None)
    with pytest.raises(
        InvalidImage, match=r"photo is HEIC, .* pip install 'blindsight-vault-trusted\[heif\]'"
    ):
        images.decode(data)
    assert images.media_type(encoded(photo, "AVIF")) == "image/avif"


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "photo is empty: 0 bytes"),
        (b"Dear diary, this is no photo.\n" * 100, "not an image"),
        (bytes(5000), "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (png_that_announces(50_000, 50_000), "too many pixels"),
        (png_that_announces(10_000, 5_001), "photo has too many pixels: 10000 x 5001, want at most 50000000"),
        (png_that_announces(2**31 - 1, 2**31 - 1), "too many pixels"),
    ],
    ids=["empty", "text", "zeros", "postscript", "svg", "bomb", "just-too-many", "overflow"],
)
def test_what_is_no_photo_is_refused_with_one_line(data, message):
    for read in (images.decode, images.media_type):
        with pytest.raises(InvalidImage, match=message) as refused:
            read(data)
        assert "\n" not in refused.value.message
        assert "want" in refused.value.message


def test_the_largest_allowed_header_passes_to_the_decoder():
    assert images.media_type(png_that_announces(10_000, 5_000)) == "image/png"
    with pytest.raises(InvalidImage, match=r"truncated|damaged"):
        images.decode(png_that_announces(100, 100))


def test_too_many_bytes_are_refused_before_they_are_read(photo):
    data = encoded(photo)
    data += bytes(images.MAX_BYTES + 1 - len(data))
    with pytest.raises(InvalidImage, match=f"{images.MAX_BYTES + 1} bytes, want at most {images.MAX_BYTES}"):
        images.decode(data)
    assert images.decode(data[:-1]).size == photo.size


def test_a_truncated_file_is_refused_wherever_it_ends(photo, format_of):
    kind, options, _ = format_of
    data = encoded(photo, kind, **options)
    for parts in range(20):
        with pytest.raises(InvalidImage):
            images.decode(data[: len(data) * parts // 20])


def test_a_truncated_jpeg_is_called_truncated(photo):
    data = encoded(photo, "JPEG")
    for at_least in (None, 16):
        with pytest.raises(InvalidImage, match=r"photo is truncated: .* want a whole file"):
            images.decode(data[: len(data) // 2], at_least=at_least)


def test_a_number_that_is_none_is_refused():
    pixels = np.zeros((8, 8), np.float32)
    pixels[3, 3] = np.nan
    with pytest.raises(InvalidImage, match="not a finite number"):
        images.decode(encoded(Image.fromarray(pixels), "TIFF"))


# Compressed TIFF is left out: its library reports every damage on stderr, and this would fill it.
@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "PNG", "WEBP"])
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12))
def test_flipped_bytes_give_a_picture_or_the_one_error(kind, flips):
    data = bytearray(encoded(Image.fromarray(skimage.data.chelsea()).resize((48, 32)), kind))
    for place, value in flips:
        data[place % len(data)] = value
    try:
        picture = images.decode(bytes(data), at_least=16)
    except InvalidImage:
        return
    assert picture.mode == "RGB"


def test_a_message_quotes_neither_bytes_nor_objects(photo):
    data = encoded(photo)
    broken = data[:40] + b"secret-canary" + data[53:]
    with pytest.raises(InvalidImage) as refused:
        images.decode(broken)
    assert "canary" not in refused.value.message
    assert "BytesIO" not in refused.value.message
    # Nor does a traceback lead to Pillow's own message, which quotes them.
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


# --- pixels for planes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "JPEG"])
def test_pixels_are_those_that_pillow_shows(photo, mode, form):
    data = encoded(photo.convert(mode), form)
    pixels = images.pixels(data)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(pixels.values, expected)
    assert (pixels.values.dtype, pixels.values.ndim) == (np.uint8, 2 if mode == "L" else 3)
    assert pixels.remark == ""


def test_pixels_stand_upright_in_full_size(photo):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    large = photo.resize((1400, 900))
    pixels = images.pixels(encoded(large, "PNG", exif=exif))
    np.testing.assert_array_equal(pixels.values, np.asarray(large.transpose(Image.Transpose.ROTATE_270)))


def sixteen_bit_png():
    """RGB of 16 bits a channel, which Pillow cannot write."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + struct.pack(">12H", *range(0, 60000, 5000)) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def animated():
    frames = [Image.new("L", (9, 9), shade) for shade in (0, 128, 255)]
    return encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("make", "shape", "said"),
    [
        (lambda photo: encoded(photo.convert("L").convert("I;16")), (64, 96), "more than 8 bits a channel"),
        (lambda photo: sixteen_bit_png(), (4, 4, 3), "more than 8 bits a channel"),
        (lambda photo: encoded(photo.quantize(16)), (64, 96, 3), "palette resolved to RGB"),
        (lambda photo: encoded(photo.convert("RGBA")), (64, 96, 3), "transparency put on white"),
        (lambda photo: encoded(photo.convert("LA")), (64, 96), "transparency put on white"),
        (lambda photo: encoded(photo.convert("CMYK"), "JPEG"), (64, 96, 3), "CMYK brought to RGB"),
        (lambda photo: animated(), (9, 9), "the first of 3 frames"),
        (lambda photo: encoded(photo.convert("1")), (64, 96), ""),
    ],
    ids=["deep grey", "deep colour", "palette", "alpha", "grey alpha", "cmyk", "animated", "bits"],
)
def test_what_is_converted_is_said_and_its_shape_is_known_by_the_header(photo, make, shape, said):
    data = make(photo)
    pixels = images.pixels(data)
    for colours in images.Colours:
        height, width, *channels = images.pixels(data, colours).values.shape
        assert images.plane_shape(data, colours) == (*(channels or [1]), height, width)
    assert pixels.values.shape == shape
    assert pixels.values.dtype == np.uint8
    assert said in pixels.remark
    assert bool(said) == bool(pixels.remark)


def with_exif_after_pixels(png, exif):
    """A PNG whose orientation stands behind its pixels, as the standard allows."""
    chunk = b"eXIf" + exif
    whole = len(exif).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return png[:-12] + whole + png[-12:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP", "PNG, at the end"])
def test_the_shape_of_a_turned_photo_is_that_of_the_upright_one(photo, orientation, kind):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if kind == "PNG, at the end":
        data = with_exif_after_pixels(encoded(photo), exif.tobytes().removeprefix(b"Exif\0\0"))
    else:
        data = encoded(photo, kind, exif=exif.tobytes())
    height, width, channels = images.pixels(data).values.shape
    assert (height > width) == (orientation > 4)
    assert images.plane_shape(data) == (channels, height, width)


def test_pixels_are_brought_to_the_colours_that_are_wanted(photo):
    seen, grey = images.pixels(encoded(photo)), images.pixels(encoded(photo), Colours.GREY)
    np.testing.assert_array_equal(grey.values, np.asarray(photo.convert("L")))
    assert (grey.remark, seen.brought_to(Colours.GREY).remark) == ("colour brought to grey",) * 2
    again = grey.brought_to(Colours.RGB)
    assert again.values.shape == seen.values.shape
    assert (again.values == grey.values[:, :, np.newaxis]).all()
    for same in (Colours.AS_THEY_ARE, Colours.RGB):
        assert seen.brought_to(same) is seen


def test_a_photo_of_too_many_pixels_for_planes_is_refused_by_its_header():
    with pytest.raises(
        InvalidImage, match=r"4000 x 3000 pixels is too large for planes: 12000000 .* 8388608"
    ):
        images.plane_shape(png_that_announces(4000, 3000))
    with pytest.raises(InvalidImage, match="too large for planes"):
        images.pixels(png_that_announces(4000, 3000))


@pytest.mark.parametrize("data", [b"", b"text", png_that_announces(50, 50)])
def test_what_is_no_photo_has_no_pixels(data):
    with pytest.raises(InvalidImage):
        images.pixels(data)
