"""Keypoints and matches whose scale space the evaluator computed on ciphertexts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree
from support.command import run_here
from support.photos import encoded
from support.scalespace import features, grey, seen_from_aside
from support.services import Services

import blindsight
from blindsight.client import StoredPhoto
from blindsight.errors import InvalidArgument, InvalidImage

SIZE = 200


@pytest.fixture(scope="module")
def photo():
    return grey("astronaut", SIZE)


@pytest.fixture(scope="module")
def exact(photo):
    return features(photo)


def found_again(places, others):
    return np.mean(cKDTree(others).query(places)[0] < 1)


@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_keypoints_are_those_of_the_scale_space_in_the_clear(vault, photo, exact, scheme):
    seen = []
    answer = vault.keypoints(photo, scheme=scheme, progress=seen.append)
    places = np.array([(one.x, one.y) for one in answer.keypoints])
    assert len(exact) > 50
    assert found_again(places, exact.places) > 0.93
    assert found_again(exact.places, places) > 0.93
    assert answer.account.scheme == scheme
    assert answer.account.round_trips == 5  # 400, 200, 100, 50 and 25 pixels
    assert (answer.width, answer.height) == (SIZE, SIZE)
    assert {one.octave for one in answer.keypoints} >= {-1, 0, 1}
    assert {one.stage for one in seen} == {"compute"}
    pixels = sum((SIZE * 2 >> octave) ** 2 for octave in range(5))
    assert {one.total for one in seen} == {pixels}
    done = [one.done for one in seen]
    assert done == sorted(done)
    assert done[-1] == pixels


def test_descriptors_match_those_of_opencv(vault, photo):
    answer = vault.keypoints(photo)
    assert answer.descriptors.shape == (len(answer.keypoints), 128)
    theirs, described = cv2.SIFT_create().detectAndCompute(photo, None)
    pairs = cv2.BFMatcher().match(answer.descriptors.astype(np.float32), described)
    ours = [answer.keypoints[pair.queryIdx] for pair in pairs]
    apart = [
        np.hypot(one.x - theirs[pair.trainIdx].pt[0], one.y - theirs[pair.trainIdx].pt[1])
        for one, pair in zip(ours, pairs, strict=True)
    ]
    assert np.mean(np.array(apart) < 2) > 0.9


def has_opencv(process):
    return "/cv2/" in Path(f"/proc/{process.pid}/maps").read_text()


def test_the_keyholder_never_loads_opencv(tmp_path, photo):
    # A variable more starts services as people do, not forked from a process that has loaded this and that.
    services = Services(tmp_path, pool_size=1, extra={"PYTHONUNBUFFERED": "1"}).start()
    try:
        blindsight.connect(services.address()).match(photo, photo, octaves=1)
        keyholder = services["keyholder"]
        assert not has_opencv(keyholder.process())
        assert any(has_opencv(one) for one in keyholder.workers())
    finally:
        services.stop()


@pytest.mark.parametrize("scales", [2, 5])
def test_octaves_and_scales_are_chosen(vault, photo, scales):
    answer = vault.keypoints(photo, octaves=2, scales=scales)
    assert answer.account.round_trips == 2
    assert {one.octave for one in answer.keypoints} == {-1, 0}


def test_a_large_picture_is_made_smaller_and_that_is_said(vault, photo):
    answer = vault.keypoints(photo, side=64)
    assert (answer.width, answer.height) == (64, 64)
    assert answer.account.remarks == (f"{SIZE} x {SIZE} pixels made 64 x 64",)


@pytest.mark.parametrize("encrypted", [False, True])
def test_two_views_of_one_thing_agree_on_the_homography(vault, photo, encrypted):
    view, homography = seen_from_aside(photo)
    answer = vault.match(photo, view, encrypted=encrypted)
    assert answer.inliers > 25
    assert answer.inliers == sum(one.inlier for one in answer.matches)
    assert answer.verified
    corners = np.array([[0, 0, 1], [SIZE - 1, 0, 1], [SIZE - 1, SIZE - 1, 1], [0, SIZE - 1, 1]])
    moved, wanted = corners @ answer.homography.T, corners @ homography.T
    assert np.abs(moved[:, :2] / moved[:, 2:] - wanted[:, :2] / wanted[:, 2:]).max() < 3
    assert answer.drawn.shape[2] == 3
    assert answer.drawn.shape[1] > 2 * SIZE


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (60, 60)])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_small_or_flat_picture_matches_nothing(vault, photo, shape, encrypted):
    answer = vault.match(np.full(shape, 90, np.uint8), photo, encrypted=encrypted, octaves=2)
    assert (answer.keypoints_a, answer.matches, answer.inliers, answer.verified) == (0, [], 0, False)
    assert answer.homography is None


ANEW = ": the keyholder decrypted them and encrypted them anew"


def test_a_stored_photo_is_taken_from_its_planes(vault, photo):
    collection = vault.create_collection("views")
    (item,) = collection.ingest([("one", photo[:96, :96])], planes=True).items
    stored = StoredPhoto("views", item.id)
    answer, wanted = (vault.keypoints(one, octaves=2) for one in (stored, photo[:96, :96]))
    places = [[(one.x, one.y) for one in made.keypoints] for made in (answer, wanted)]
    assert len(places[0]) > 10
    assert places[0] == [pytest.approx(place, abs=0.05) for place in places[1]]
    assert answer.account.stored == "decrypted"
    assert answer.account.remarks == (
        f"stored planes have a halo of 0 pixels, and the kernel reaches 9{ANEW}",
    )


@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_the_first_octave_of_a_stored_photo_with_a_wide_halo_is_computed_where_it_is(vault, photo, scheme):
    collection = vault.create_collection(f"wide {scheme}", scheme=scheme)
    small = photo[:96, :96]
    (item,) = collection.ingest([("one", small)], planes=True, plane_halo=9).items
    stored = StoredPhoto(f"wide {scheme}", item.id)
    answer, sent = vault.keypoints(stored, octaves=1), vault.keypoints(small, octaves=1, scheme=scheme)
    places = [[(one.x, one.y) for one in made.keypoints] for made in (answer, sent)]
    assert len(places[0]) > 10
    assert places[0] == [pytest.approx(place, abs=0.05) for place in places[1]]
    assert (answer.account.scheme, answer.account.stored) == (scheme, "in place")
    assert 0 == answer.account.sent_bytes < sent.account.sent_bytes
    other = "bfv" if scheme == "ckks" else "ckks"
    matched = vault.match(stored, small, scheme=other, octaves=1)
    assert matched.inliers == len(matched.matches) > 10
    assert matched.account.stored == "decrypted"
    why = f"A: stored planes are of {scheme}-4096, and the job is under {other}-4096{ANEW}"
    assert matched.account.remarks == (why,)


def test_what_cannot_be_is_refused_in_one_line(vault, photo):
    for options in ({"octaves": 0}, {"scales": 9}, {"side": 5000}, {"scheme": "rsa"}, {"ratio": 2.0}):
        with pytest.raises(InvalidArgument, match="want") as caught:
            vault.match(photo, photo, **options)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InvalidImage):
        vault.match(b"no picture", photo)


def test_the_command_draws_keypoints_and_writes_what_they_look_like(services, photo, tmp_path):
    path, to, described = tmp_path / "a.png", tmp_path / "out.png", tmp_path / "described.npy"
    path.write_bytes(encoded(Image.fromarray(photo), "PNG"))
    asked = ["keypoints", str(path), "-o", str(to), "--max-side", "100", "--octaves", "2"]
    done = run_here(*asked, "--descriptors", str(described), "--json", address=services.address())
    answer = json.loads(done.stdout)
    assert answer["keypoints"]
    assert answer["round_trips"] == 2
    assert np.load(described).shape == (len(answer["keypoints"]), 128)
    with Image.open(to) as drawn:
        assert drawn.width >= 100
    assert "keypoints" in run_here(*asked, address=services.address()).stdout
    refused = run_here(*asked, "--descriptors", "a.txt", address=services.address())
    assert (refused.returncode, "want .npy" in refused.stderr) == (2, True)


def test_the_command_writes_a_picture_and_says_how_many_agree(services, photo, tmp_path):
    view, _ = seen_from_aside(photo)
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for path, values in zip(paths, (photo, view), strict=True):
        path.write_bytes(encoded(Image.fromarray(values), "PNG"))
    to = tmp_path / "out.png"
    done = run_here("match", *map(str, paths), "-o", str(to), "--json", address=services.address())
    answer = json.loads(done.stdout)
    assert answer["inliers"] > 25
    assert answer["verified"]
    assert len(answer["matches"]) >= answer["inliers"]
    with Image.open(to) as drawn:
        assert drawn.width > 2 * SIZE
    shown = run_here("match", *map(str, paths), "-o", str(to), "--max-side", "64", address=services.address())
    assert "matches agree on one view" in shown.stdout
