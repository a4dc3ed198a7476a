import io

import numpy as np
import pytest
from PIL import Image
from support import comparison
from support import photos as files

from blindsight.cli.compare import photos, plaintext
from blindsight.errors import InvalidArgument


@pytest.fixture
def folder(tmp_path):
    for name in ("astronaut", "chelsea"):
        (tmp_path / f"{name}.jpg").write_bytes(files.jpeg(name))
    (tmp_path / "again.jpg").write_bytes(files.jpeg("chelsea"))
    (tmp_path / "notes.txt").write_text("no photo")
    Image.new("RGB", (80, 80), (200, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / ".hidden.jpg").write_bytes(files.jpeg("chelsea"))
    return tmp_path


def gathered(folder, count):
    return photos.gather([str(folder)], count, lambda done: None)


def test_few_photos_become_many_and_no_two_are_alike(folder):
    gallery = gathered(folder, 40)
    assert gallery.pixels.shape == (40, 3, 4096)
    assert gallery.originals == 2
    assert gallery.skipped == 4  # a duplicate, a text, a hidden one, and one without green and blue
    assert len({photo.tobytes() for photo in gallery.pixels}) == 40


def test_the_same_photos_are_altered_in_the_same_way_on_every_run(folder):
    assert np.array_equal(gathered(folder, 20).pixels, gathered(folder, 20).pixels)


def test_enough_photos_are_not_altered(folder):
    assert gathered(folder, 2).originals == 2


def test_what_queries_should_find_is_nearer_than_the_rest_by_more_than_any_scheme_errs(folder):
    gallery = gathered(folder, 40)
    task, _ = plaintext.judge(gallery, photos.queries(gallery))
    assert [query.winner for query in task.queries[:2]] == [query.image for query in task.queries[:2]]
    assert min(query.margin for query in task.queries) > 1e-3


def test_files_that_are_no_photos_are_refused_together(tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(InvalidArgument, match="none of the files is a photo"):
        gathered(tmp_path, 4)


def test_a_photo_of_one_colour_cannot_become_many(tmp_path):
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "flat.png")
    gallery = gathered(tmp_path, 8)  # noise makes others of it
    assert gallery.originals == 1


def test_a_photo_of_64_pixels_keeps_them():
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    reduced = photos.reduce(Image.fromarray(pixels))
    assert np.array_equal(reduced, pixels.reshape(-1, 3).T)
    assert np.array_equal(photos.picture(reduced), pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(photos.png(reduced)))), pixels)


def test_a_larger_photo_is_averaged():
    pixels = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    means = pixels.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(photos.picture(photos.reduce(Image.fromarray(pixels))) - means).max() <= 1


def test_transparent_and_turned_photos_are_seen_as_people_see_them(tmp_path):
    clear = Image.new("RGBA", (64, 64), (10, 20, 30, 0))
    clear.paste((10, 20, 30, 255), (0, 0, 64, 16))
    clear.save(tmp_path / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = Image.new("RGB", (64, 64), "white")
    turned.paste((10, 20, 30), (0, 48, 64, 64))
    turned.save(tmp_path / "turned.png", exif=exif)
    gallery = gathered(tmp_path, 4)
    assert gallery.originals == 1, "both look the same"
    assert gallery.pixels[0][0, 0] == 10
    assert gallery.pixels[0][0, -1] == 255


def test_the_queries_are_the_same_photo_one_with_a_changed_pixel_and_a_mirrored_one():
    same, touched, mirrored = photos.queries(comparison.gallery())
    stored = comparison.gallery().pixels
    assert np.array_equal(same.pixels, stored[same.image])
    difference = np.abs(touched.pixels.astype(int) - stored[touched.image])
    assert (difference.sum(), difference.max()) == (3, 1)
    assert np.array_equal(photos.picture(mirrored.pixels)[:, ::-1], photos.picture(stored[mirrored.image]))
    assert len({same.image, touched.image, mirrored.image}) == 3


def test_a_white_pixel_is_changed_downwards():
    white = np.full((3, 4096), 255, np.uint8)
    assert photos.one_pixel_changed(white).min() == 254


def test_plaintext_is_the_squared_cosine_of_each_colour():
    stored, query = comparison.gallery().pixels, comparison.gallery().pixels[1]
    found = plaintext.squared_cosines(stored, query)
    assert found.shape == (6, 3)
    assert np.array_equal(found[1], [1, 1, 1])
    a, b = stored[4][2].astype(float), query[2].astype(float)
    assert found[4][2] == pytest.approx((a @ b / np.linalg.norm(a) / np.linalg.norm(b)) ** 2)
    assert plaintext.distances(found).argmin() == 1
