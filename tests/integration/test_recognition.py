"""Photos that are found by their keypoints, through the real services."""

import io
import json
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from skimage import data
from support.command import run_here
from support.photos import encoded

import blindsight
from blindsight.errors import InvalidArgument, InvalidImage
from blindsight.runtime.transfer import MAX_MESSAGE_BYTES
from blindsight.trusted.imaging import keypoints

PHOTOS = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "page",
    "rocket",
)
BLANK = encoded(Image.new("RGB", (320, 200), "steelblue"), "PNG")
VIEWS = {
    "turned": lambda image: image.rotate(33, Image.Resampling.BICUBIC, expand=True),
    "half as large": lambda image: image.reduce(2),
    "a part": lambda image: image.crop((0, image.height // 3, image.width * 2 // 3, image.height)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
    "all at once": lambda image: ImageEnhance.Brightness(
        image.rotate(-20, Image.Resampling.BICUBIC).crop((90, 60, 400, 360)).resize((500, 484))
    ).enhance(0.7),
}


@cache
def picture(name):
    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    image.thumbnail((512, 512))
    return image


@cache
def file(name):
    return encoded(picture(name), quality=92)


@pytest.fixture(scope="module")
def services(own_services):
    """Tests here end them."""
    return own_services


@pytest.fixture(scope="module", params=["ckks", "bfv"])
def album(request, services):
    """A dozen photos and a blank one, in a collection of each scheme."""
    with blindsight.connect(services.address()) as vault:
        made = vault.create_collection(f"album {request.param}", scheme=request.param, embedder="sift")
        report = made.ingest([*((f"{name}.jpg", file(name)) for name in PHOTOS), ("blank.png", BLANK)])
        assert [item.outcome for item in report.items] == ["stored"] * 13
        (remark,) = (item.remark for item in report.items if item.remark)
        assert remark.startswith("photo has 0 keypoints, want at least 8")
        assert remark.endswith("; no search will find it")
        yield made


@pytest.mark.parametrize("view", VIEWS)
def test_another_view_of_a_photo_finds_it_with_far_more_inliers_than_any_other(album, view):
    for name in ("astronaut", "coffee") if album.name.endswith("ckks") else ("rocket",):
        answer = album.search(encoded(VIEWS[view](picture(name)), "PNG"))
        (hits,) = answer.results
        assert len(hits) == 5
        assert (hits[0].name, hits[0].keypoints.verified) == (f"{name}.jpg", True)
        inliers = [hit.keypoints.inliers for hit in hits]
        assert inliers == sorted(inliers, reverse=True)
        assert inliers[0] > 5 * inliers[1]
        assert not any(hit.keypoints.verified for hit in hits[1:])
        assert all(hit.keypoints.inliers <= hit.keypoints.matches <= keypoints.MOST for hit in hits)
        assert answer.timings.match_seconds > 0
        assert answer.drawings == ()


def test_a_photo_that_is_not_there_is_found_and_not_verified(album):
    (hits,) = album.search(encoded(Image.fromarray(data.stereo_motorcycle()[0]))).results
    assert len(hits) == 5
    assert not any(hit.keypoints.verified for hit in hits)


def test_a_blank_photo_is_no_query_but_comes_back_as_it_was(album):
    with pytest.raises(InvalidImage, match="photo has 0 keypoints, want at least 8"):
        album.search(BLANK)
    again = album.ingest([("blank.png", BLANK)])
    assert again.duplicates == 1
    assert album.get(again.items[0].id).data == BLANK


def test_pictures_of_the_query_and_of_every_match_come_when_they_are_asked_for(album):
    answer = album.search(encoded(VIEWS["turned"](picture("coffee"))), k=3, draw=True)
    assert [one.rank for one in answer.drawings] == [0, 1, 2, 3]
    for one in answer.drawings:
        photo, drawn = (Image.open(io.BytesIO(part)) for part in (one.photo, one.drawn))
        assert (photo.format, drawn.format) == ("JPEG", "JPEG")
        assert max(photo.size) <= keypoints.SIDE < drawn.width
        assert len(one.photo) + len(one.drawn) < MAX_MESSAGE_BYTES / 2
    best = np.asarray(Image.open(io.BytesIO(answer.drawings[1].photo)).convert("L"), np.float64)
    assert np.abs(best - np.asarray(picture("coffee").convert("L"))).mean() < 8


def test_what_makes_no_sense_of_keypoints_is_refused(vault, album):
    plain = vault.create_collection("plain " + album.name)
    refused = {
        "metric dot with embedder sift, want cosine": lambda: vault.create_collection(
            "x", embedder="sift", metric="dot"
        ),
        "embedder sift under paillier, want ckks or bfv": lambda: vault.create_collection(
            "x", embedder="sift", scheme="paillier"
        ),
        "dimension of embedder 'sift': 64, want 208": lambda: vault.create_collection(
            "x", embedder="sift", dimension=64
        ),
        "k 51, want 1 to 50": lambda: album.search(file("coins"), k=51),
        "threshold 0.5 in collection": lambda: album.search(file("coins"), threshold=0.5),
        "1 query vectors in collection": lambda: album.search_vectors(np.ones((1, 208), np.float32)),
        "pictures of matches in collection": lambda: plain.search(file("coins"), draw=True),
        "embedder sift has no distance": lambda: vault.verify(file("coins"), file("coins"), embedder="sift"),
        "embedder sift has no distance to verify": lambda: album.verify("any", file("coins")),
        "takes photos, got vectors": lambda: album.ingest_vectors(np.ones((1, 208), np.float32)),
    }
    for message, call in refused.items():
        with pytest.raises(InvalidArgument, match=message):
            call()
    plain_hit = plain.ingest([("coins.jpg", file("coins"))]) and plain.search(file("coins")).results[0][0]
    assert plain_hit.keypoints is None
    vault.delete_collection(plain.name)


@pytest.mark.parametrize("album", ["ckks"], indirect=True)
def test_the_command_answers_with_a_table_json_or_a_page(services, album, tmp_path):
    query = tmp_path / "query.png"
    query.write_bytes(encoded(VIEWS["all at once"](picture("coffee")), "PNG"))
    address = services.address()
    shown = run_here("search", album.name, str(query), address=address)
    assert shown.returncode == 0, shown.stderr
    assert "inliers" in shown.stdout
    assert "coffee.jpg" in shown.stdout
    made = run_here(
        "search", album.name, str(query), "--json", "--report", str(tmp_path / "page"), address=address
    )
    answer = json.loads(made.stdout)
    hits = answer["results"][0]
    assert [set(hit["keypoints"]) for hit in hits] == [{"inliers", "matches", "verified"}] * 5
    assert (hits[0]["name"], hits[0]["keypoints"]["verified"]) == ("coffee.jpg", True)
    page = (tmp_path / "page" / "report.html").read_text()
    assert answer["report"] == str(tmp_path / "page" / "report.html")
    assert page.count("data:image/jpeg;base64,") == 12
    assert f"{hits[0]['keypoints']['inliers']} inliers of {hits[0]['keypoints']['matches']} matches" in page
    assert "One photo shows the same" in page
    assert "http" not in page
    assert "$" not in page.split("</style>")[1]
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == [
        *(f"match-{rank}.jpg" for rank in range(1, 6)),
        "query.jpg",
        "report.html",
    ]


def test_storage_never_holds_keypoints_that_it_could_read(services, album):
    packed = [keypoints.pack(keypoints.find(picture(name))) for name in ("astronaut", "page")]
    stored = b"".join(
        path.read_bytes() for path in (services.folder / "storage").rglob("*") if path.is_file()
    )
    assert len(stored) > 12 * keypoints.PACKED_BYTES
    for one in packed:
        for start in range(11, keypoints.PACKED_BYTES - 32, 4096):
            part = one[start : start + 32]
            assert part == bytes(32) or part not in stored
    assert stored.count(b"BSKP") == 0


@pytest.mark.parametrize("album", ["ckks"], indirect=True)
def test_keypoints_outlast_a_restart_a_deletion_and_a_repack_of_others(services, vault, album):
    album = vault.collection(album.name)
    before = album.describe()
    query = encoded(VIEWS["turned"](picture("rocket")))
    first = album.search(query).results
    assert first[0][0].name == "rocket.jpg"
    services["keyholder"].stop()
    services["storage"].stop()
    services["storage"].start()
    services["keyholder"].start()
    again = album.search(query).results
    # Scores carry the noise of a fresh query.
    assert [(hit.id, hit.keypoints) for hit in again[0]] == [(hit.id, hit.keypoints) for hit in first[0]]
    album.delete(first[0][1].id)
    kept = [hit.id for hit in first[0] if hit.id != first[0][1].id]
    album.repack()
    after = album.search(query).results[0]
    assert [hit.id for hit in after if hit.id in kept] == kept
    assert album.describe().items == before.items - 1
    album.delete(first[0][0].id)
    assert album.describe().size_bytes < before.size_bytes - 2 * keypoints.PACKED_BYTES
    left = album.search(query).results[0]
    assert "rocket.jpg" not in {hit.name for hit in left}
    assert not left[0].keypoints.verified
