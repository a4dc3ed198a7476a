"""Photos through the three real services."""

import io
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.oddities import EMBEDDERS, ODDITIES
from support.photos import NAMES, bomb, encoded, ingested, jpeg, photo

from blindsight.errors import InvalidArgument, InvalidImage, NotFound
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc


@pytest.fixture(scope="module")
def album(services):
    import blindsight

    with blindsight.connect(services.address()) as vault:
        collection = vault.create_collection("album")
        report = collection.ingest([(f"{name}.jpg", jpeg(name)) for name in NAMES])
        assert report.stored == len(NAMES)
        yield collection


@pytest.mark.parametrize("name", NAMES)
def test_an_altered_view_finds_its_photo(album, name):
    image = photo(name)
    width, height = image.size
    view = image.crop((width // 10, height // 10, width, height)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    view = ImageEnhance.Brightness(view).enhance(1.2)
    (hits,) = album.search(encoded(view, quality=50), k=3).results
    assert hits[0].name == f"{name}.jpg"
    assert hits[0].score > hits[1].score


def test_an_original_comes_back_to_the_byte(album):
    (hits,) = album.search(jpeg("coffee"), k=1).results
    original = album.get(hits[0].id)
    assert original.data == jpeg("coffee")
    assert (original.name, original.media_type) == ("coffee.jpg", "image/jpeg")


def test_the_same_photo_again_is_a_duplicate(album):
    report = album.ingest([("another name.jpg", jpeg("coffee")), ("coffee.jpg", jpeg("coffee"))])
    assert (report.stored, report.duplicates) == (0, 2)
    assert album.describe().items == len(NAMES)


def test_a_duplicate_is_answered_after_the_photo_that_it_repeats_is_stored(services, vault):
    vault.create_collection("twins", embedder="pixels", dimension=64)
    answers = []

    def requests():
        yield pb.IngestRequest(header=pb.IngestHeader(collection="twins"))
        yield from ingested(jpeg("coffee"))
        for _ in range(1000):
            if answers:  # refusals overtake no photo: this one waits for others of its batch
                break
            yield ingested(b"")[0]
            time.sleep(0.01)
        yield from ingested(jpeg("coffee"))

    with grpc.insecure_channel(services.address()) as channel:
        stub = keyholder_pb2_grpc.KeyholderServiceStub(channel)
        answers.extend(stub.Ingest(requests(), timeout=60))
    *items, last = answers
    assert items[0].item.outcome == pb.OUTCOME_REJECTED
    taken = [one.item.outcome for one in items if one.item.outcome != pb.OUTCOME_REJECTED]
    assert taken == [pb.OUTCOME_STORED, pb.OUTCOME_DUPLICATE]
    assert (last.summary.stored, last.summary.duplicates) == (1, 1)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (pb.FileHeader(size_bytes=5, sha256=b"short"), "INVALID_ARGUMENT"),
        (pb.FileHeader(size_bytes=1 << 40), "RESOURCE_EXHAUSTED"),
        (pb.FileHeader(size_bytes=0), "INVALID_IMAGE"),
        (
            pb.FileHeader(size_bytes=5, metadata=pb.Metadata(values={"no key": pb.Value(number=1)})),
            "INVALID_ARGUMENT",
        ),
    ],
    ids=["digest", "too large", "empty", "metadata"],
)
@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_a_file_that_its_header_has_refused_stops_no_other(services, vault, request, refused, reason, chunks):
    name = request.node.name.removeprefix("test_")
    vault.create_collection(name, embedder="pixels", dimension=64)

    def requests():
        yield pb.IngestRequest(header=pb.IngestHeader(collection=name))
        yield pb.IngestRequest(file=refused)
        yield from [pb.IngestRequest(chunk=b"x")] * chunks
        yield from ingested(jpeg("coffee"))

    with grpc.insecure_channel(services.address()) as channel:
        first, second, last = keyholder_pb2_grpc.KeyholderServiceStub(channel).Ingest(requests(), timeout=60)
    assert (first.item.index, first.item.reason) == (0, reason)
    assert (second.item.index, second.item.outcome) == (1, pb.OUTCOME_STORED)
    assert (last.summary.stored, last.summary.rejected) == (1, 1)


def test_every_photo_of_a_folder_is_kept_and_other_files_are_counted(vault, tmp_path):
    files = {"good.jpg": jpeg("rocket"), "more/good too": jpeg("coffee"), "half.jpg": jpeg("rocket")[:3000]}
    others = {"notes.txt": b"not a photo at all", "more/film.mp4": b"\0\0\0\x18ftypisom", "empty.jpg": b""}
    for name, data in {**files, **others}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    collection = vault.create_collection("mixed", embedder="pixels")
    report = collection.ingest(str(tmp_path))
    assert (report.stored, report.rejected, report.skipped) == (3, 1, 2)
    outcomes = {Path(item.path).name: item for item in report.items}
    assert outcomes["empty.jpg"].message.startswith("photo is empty: 0 bytes, want 1 to ")
    assert outcomes["half.jpg"].remark.startswith("photo is truncated: ")
    assert outcomes["half.jpg"].remark.endswith("; no search will find it")
    assert "\n" not in outcomes["half.jpg"].remark
    named = collection.ingest([tmp_path / "notes.txt", ("film", others["more/film.mp4"])])
    assert (named.rejected, named.skipped) == (2, 0)
    assert all("--any" in item.message for item in named.items)
    kept = collection.ingest(str(tmp_path), any=True)
    assert (kept.stored, kept.duplicates, kept.rejected, kept.skipped) == (2, 3, 1, 0)
    item = next(item for item in kept.items if item.path.endswith("notes.txt"))
    original = collection.get(item.id)
    assert (original.data, original.media_type) == (others["notes.txt"], "text/plain")


@pytest.mark.parametrize("kind", EMBEDDERS)
def test_a_photo_of_which_nothing_can_be_made_lives_in_the_vault_as_any_other(vault, kind):
    embedder = "pixels" if kind == "channels" else kind
    album = vault.create_collection(f"kept {kind}", embedder=embedder, **EMBEDDERS[kind])
    unfound = {one.name for one in ODDITIES if kind in one.undescribed}
    files = [(one.name, one.data) for one in ODDITIES]
    report = album.ingest(files)
    assert {item.path for item in report.items if "no search will find it" in item.remark} == unfound
    assert [item.outcome for item in report.items] == ["stored"] * len(files)
    again = album.ingest(files)
    assert again.duplicates == len(files)
    assert {item.path for item in again.items if item.remark == "no search will find it"} == unfound

    def found():
        (hits,) = album.search(jpeg("coffee"), k=50).results
        return {hit.name for hit in hits}

    assert found() == {one.name for one in ODDITIES} - unfound
    ids = {item.path: item.id for item in report.items}
    assert all(album.get(ids[name]).data == data for name, data in files)
    if kind in ("descriptor", "pixels"):
        with pytest.raises(NotFound, match="has no vector: nothing could be made of its photo"):
            album.verify(ids["half.jpg"], jpeg("coffee"))
    assert album.delete([ids["cmyk.jpg"], ids["bomb.png"]]).deleted == 2
    assert album.repack().segments_retired
    about = album.describe()
    assert (about.items, about.undescribed_items, about.quarantined_items) == (
        len(files) - 2,
        len(unfound) - 1,
        0,
    )
    told = album.check()
    assert (told.damaged, told.quarantined, told.losing) == (0, 0, 0)
    assert found() == {one.name for one in ODDITIES} - unfound - {"cmyk.jpg"}
    assert album.get(ids["half.jpg"]).data == dict(files)["half.jpg"]
    assert album.ingest([files[0], ("bomb.png", bomb())]).stored == 2


def test_an_upright_photo_finds_itself_stored_sideways(vault):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways: rotate by 90 degrees to see it
    sideways = encoded(photo("chelsea").transpose(Image.Transpose.ROTATE_90), quality=92, exif=exif)
    collection = vault.create_collection("turned", embedder="pixels")
    collection.ingest([("sideways.jpg", sideways), ("other.jpg", jpeg("coffee"))])
    (hits,) = collection.search(encoded(photo("chelsea"), quality=92), k=1).results
    assert hits[0].name == "sideways.jpg"
    assert hits[0].score > 0.98


def test_a_photo_of_forty_megapixels_goes_in(vault):
    noise = np.random.default_rng(0).integers(0, 256, (250, 400, 3), np.uint8)
    large = Image.fromarray(noise).resize((8000, 5000))
    collection = vault.create_collection("large")
    assert collection.ingest([("large.jpg", encoded(large, quality=60))]).stored == 1


def test_pictures_arrays_and_paths_are_all_taken(vault, tmp_path):
    path = tmp_path / "astronaut.png"
    photo("astronaut").save(path)
    collection = vault.create_collection("kinds", embedder="pixels", dimension=256)
    report = collection.ingest([photo("coffee"), np.asarray(photo("camera")), path, jpeg("rocket")])
    assert report.stored == 4
    (hits,) = collection.search(photo("astronaut"), k=1).results
    assert hits[0].name == "astronaut.png"
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert Image.open(io.BytesIO(collection.get(hits[0].id).data)).size == photo("astronaut").size


@pytest.mark.parametrize(
    "data", [b"", b"text", bomb(), jpeg("coffee")[:2000]], ids=["empty", "text", "bomb", "truncated"]
)
def test_a_query_that_is_no_photo_is_one_clear_line(album, data):
    with pytest.raises(InvalidImage) as caught:
        album.search(data)
    assert "\n" not in str(caught.value)
    assert album.search(jpeg("coffee"), k=1).results[0]


def test_photos_and_vectors_do_not_mix(vault, album):
    with pytest.raises(InvalidArgument, match="photos"):
        album.ingest_vectors(np.ones((1, album.describe().dimension)))
    vectors = vault.create_collection("vectors only", embedder="none", dimension=8)
    with pytest.raises(InvalidArgument, match="vectors only"):
        vectors.search(jpeg("coffee"))


def test_a_deleted_photo_is_gone_from_search_and_from_storage(vault):
    collection = vault.create_collection("forget")
    collection.ingest([(f"{name}.jpg", jpeg(name)) for name in NAMES[:3]])
    (hits,) = collection.search(jpeg(NAMES[0]), k=1).results
    assert collection.delete(hits[0].id).deleted == 1
    with pytest.raises(NotFound):
        collection.get(hits[0].id)
    (after,) = collection.search(jpeg(NAMES[0]), k=5).results
    assert {hit.name for hit in after} == {f"{name}.jpg" for name in NAMES[1:3]}


def test_processes_with_keys_leave_no_core_dump(services):
    keyholder = services["keyholder"]
    for process in (keyholder.process(), *keyholder.workers()):
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert limits.split("Max core file size")[1].split()[:2] == ["0", "0"]
