"""Photos as encrypted pixel planes through the three real services, under every parameter set."""

import io
import sqlite3
import threading

import numpy as np
import pytest
from PIL import Image
from support.photos import encoded, jpeg, photo
from support.services import Services

import blindsight
from blindsight.errors import DataLoss, InvalidArgument, NotFound
from blindsight.packing.tiling import Tiling
from blindsight.parameters import PARAMETER_SETS
from services.storage.stores.sqlite import FILE_NAME


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def album(services, request):
    parameters = request.param
    with blindsight.connect(services.address()) as vault:
        scheme = parameters.scheme.name.lower()
        yield vault.create_collection(
            f"album {parameters.name}", scheme=scheme, parameter_set=parameters.name, embedder="pixels"
        )


def noise(*shape):
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


def displayed(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(noise(64, 64, 3)), "PNG"),
        encoded(Image.fromarray(noise(129, 65)), "PNG"),
        encoded(Image.fromarray(noise(333, 501, 3)), "TIFF"),
        encoded(Image.fromarray(np.tile(noise(1, 40, 3), (2, 1, 1))), "BMP"),
        jpeg("coffee"),
        encoded(photo("camera").convert("L"), "JPEG"),
    ],
    ids=["one tile", "grey", "many tiles", "flat", "jpeg", "grey jpeg"],
)
def test_planes_are_the_pixels_of_the_decoded_photo(album, data):
    report = album.ingest([("photo", data)], planes=True)
    assert [(item.outcome, item.remark) for item in report.items] == [("stored", "")]
    image = album.planes(report.items[0].id)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, displayed(data))
    assert album.get(report.items[0].id).data == data


def test_planes_are_counted_and_go_with_their_item(album):
    before = album.describe()
    report = album.ingest([("gone", encoded(Image.fromarray(noise(70, 70, 3)), "PNG"))], planes=True)
    after = album.describe()
    parameters = PARAMETER_SETS[after.parameter_set]
    size = Tiling(70, 70, 3, parameters.ring_degree).size_bytes(parameters)
    assert (after.plane_items - before.plane_items, after.plane_bytes - before.plane_bytes) == (1, size)
    assert after.size_bytes - before.size_bytes > size
    album.delete(report.items[0].id)
    last = album.describe()
    assert (last.plane_items, last.plane_bytes) == (before.plane_items, before.plane_bytes)
    with pytest.raises(NotFound, match="no item"):
        album.planes(report.items[0].id)


def test_planes_outlive_a_repack(vault):
    collection = vault.create_collection("repacked", embedder="pixels")
    photos = [
        (str(number), encoded(Image.fromarray(noise(50, 60 + number, 3)), "PNG")) for number in range(3)
    ]
    items = [collection.ingest([one], planes=True).items[0] for one in photos]
    collection.delete(items[1].id)
    assert collection.repack().segments_retired
    for place in (0, 2):
        np.testing.assert_array_equal(collection.planes(items[place].id), displayed(photos[place][1]))


def test_a_photo_on_its_side_has_the_pixels_of_the_upright_one(vault):
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = Image.fromarray(noise(80, 50, 3))
    collection = vault.create_collection("sideways", embedder="pixels")
    report = collection.ingest([("sideways.png", encoded(sideways, "PNG", exif=exif))], planes=True)
    expected = np.asarray(sideways.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(collection.planes(report.items[0].id), expected)


def test_what_planes_leave_out_is_said_beside_the_photo(vault):
    collection = vault.create_collection("remarks", embedder="pixels")
    report = collection.ingest(
        [("a", encoded(photo("coffee").quantize(32), "PNG")), ("b", jpeg("rocket"))], planes=True
    )
    assert [item.remark for item in report.items] == ["palette resolved to RGB", ""]
    assert all(item.outcome == "stored" for item in report.items)


def test_a_photo_without_planes_is_there_and_says_how_to_make_them(vault):
    collection = vault.create_collection("without", embedder="pixels")
    item = collection.ingest([("a", jpeg("coffee"))]).items[0]
    with pytest.raises(NotFound, match="has no planes: delete it, and ingest it again with --planes"):
        collection.planes(item.id)
    (again,) = collection.ingest([("a", jpeg("coffee"))], planes=True).items
    assert (again.outcome, "without planes" in again.remark) == ("duplicate", True)
    collection.delete(item.id)
    collection.ingest([("a", jpeg("coffee"))], planes=True)
    np.testing.assert_array_equal(collection.planes(item.id), displayed(jpeg("coffee")))
    (same,) = collection.ingest([("a", jpeg("coffee"))], planes=True).items
    assert (same.outcome, same.remark) == ("duplicate", "")


def test_a_photo_that_is_too_large_for_planes_is_kept_without_them(vault):
    collection = vault.create_collection("too large", embedder="pixels")
    flat = encoded(Image.new("L", (1, 300_000)), "PNG")
    large = encoded(photo("camera").convert("L").resize((4100, 2100)), "PNG", compress_level=1)
    report = collection.ingest([("large", large), ("flat", flat), ("good", jpeg("coffee"))], planes=True)
    assert [item.outcome for item in report.items] == ["stored"] * 3
    assert [item.remark.endswith("it has no planes") for item in report.items] == [True, True, False]
    assert "4100 x 2100 pixels is too large for planes" in report.items[0].remark
    assert "too narrow or too flat" in report.items[1].remark
    assert collection.search(large, k=1).results[0][0].name == "large"
    assert collection.describe().plane_items == 1


def test_vectors_have_no_planes(vault):
    collection = vault.create_collection("vectors", embedder="none", dimension=4)
    collection.ingest_vectors(np.eye(4))
    with pytest.raises(InvalidArgument, match="holds vectors, which have no planes"):
        collection.planes("0")
    with pytest.raises(InvalidArgument, match="vectors only"):
        collection.ingest([("a", jpeg("coffee"))], planes=True)


def test_several_photos_of_one_batch_keep_their_own_planes(vault):
    collection = vault.create_collection("batch", embedder="pixels")
    photos = {str(n): encoded(Image.fromarray(noise(30 + 40 * n, 200, 3)), "PNG") for n in range(8)}
    report = collection.ingest(list(photos.items()), planes=True)
    assert report.stored == 8
    for item in report.items:
        np.testing.assert_array_equal(collection.planes(item.id), displayed(photos[item.path]))


def test_a_photo_of_eight_megapixels_comes_back(vault):
    image = np.asarray(Image.fromarray(noise(240, 360, 3)).resize((3456, 2304)))
    collection = vault.create_collection("eight megapixels", embedder="pixels")
    data = encoded(Image.fromarray(image), "PNG", compress_level=1)
    report = collection.ingest([("large", data)], planes=True)
    np.testing.assert_array_equal(collection.planes(report.items[0].id), image)


# --- services that die or lose bytes -------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    """Services of one test's own."""
    running = Services(tmp_path)
    try:
        yield running.start()
    finally:
        running.stop()


def test_storage_that_is_killed_while_planes_come_gets_them_again(own):
    image = noise(1500, 1500, 3)
    data = encoded(Image.fromarray(image), "PNG", compress_level=1)
    with blindsight.connect(own.address()) as vault:
        collection = vault.create_collection("killed", embedder="pixels")
        database = own.folder / "storage" / f"{FILE_NAME}-wal"
        reports = []
        ingest = threading.Thread(
            target=lambda: reports.append(collection.ingest([("a", data)], planes=True))
        )
        ingest.start()
        while database.stat().st_size < 8 << 20:  # some pieces are there
            assert ingest.is_alive()
        own["storage"].kill()
        own["storage"].start()
        ingest.join(60)
        (report,) = reports
        assert report.stored == 1
        assert collection.describe().plane_items == 1
        np.testing.assert_array_equal(collection.planes(report.items[0].id), image)


def test_a_worker_that_is_killed_while_planes_are_encrypted_is_replaced(own):
    image = noise(1200, 1200, 3)
    with blindsight.connect(own.address()) as vault:
        collection = vault.create_collection("worker", embedder="pixels")
        reports = []
        data = encoded(Image.fromarray(image), "PNG", compress_level=1)
        ingest = threading.Thread(
            target=lambda: reports.append(collection.ingest([("a", data)], planes=True))
        )
        wal = own.folder / "storage" / f"{FILE_NAME}-wal"
        ingest.start()
        while wal.stat().st_size < 4 << 20:
            assert ingest.is_alive()
        own["keyholder"].workers()[0].kill()
        ingest.join(60)
        assert reports[0].stored == 1
        np.testing.assert_array_equal(collection.planes(reports[0].items[0].id), image)


def test_planes_that_were_damaged_on_the_disk_are_data_loss_and_the_original_is_served(own):
    with blindsight.connect(own.address()) as vault:
        collection = vault.create_collection("lies", embedder="pixels")
        report = collection.ingest([("a", encoded(Image.fromarray(noise(64, 64, 3)), "PNG"))], planes=True)
        own["storage"].stop()
        database = sqlite3.connect(own.folder / "storage" / FILE_NAME)
        (number, data), _ = database.execute(
            "SELECT number, bytes FROM blobs JOIN plane_pieces ON blob = number ORDER BY position"
        ).fetchall()
        flipped = bytearray(data)
        flipped[5000] ^= 1
        database.execute("UPDATE blobs SET bytes = ? WHERE number = ?", (bytes(flipped), number))
        database.commit()
        database.close()
        own["storage"].start()
        with pytest.raises(DataLoss):
            collection.planes(report.items[0].id)
        assert collection.get(report.items[0].id).data
