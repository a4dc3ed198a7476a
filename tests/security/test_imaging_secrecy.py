"""Image processing from the untrusted side: what passes is noise of public sizes, whatever the picture."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image
from support.canaries import Needles, contents, factor_of, key_material, spelled, windows
from support.photos import encoded
from support.relay import Relay
from support.services import NO_RENEWALS, Services
from support.tap import Tap

import blindsight
from blindsight.additive.keys import PUBLIC_MAGIC, read_numbers
from blindsight.ciphertext.header import SECRET_MAGICS
from blindsight.client import StoredPhoto
from blindsight.parameters import BFV_4096, CKKS_4096
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.rpc.evaluator.v1 import evaluator_pb2_grpc
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging.sift import Features
from blindsight.trusted.keyring import keyfile, passphrase
from services.keyholder.imaging import keypoints
from services.keyholder.imaging.keypoints import DetectionSettings
from services.keyholder.imaging.ring_engine import RingEngine, RingScheme
from services.keyholder.metrics import CRYPTO

RNG = np.random.default_rng(61)
# Small: a tile of many an octave, whose results are then searched in seconds.
HEIGHT, WIDTH = 33, 34
KINDS = ("u1", "<i2", "<i4", "<i8", "<f4", "<f8", ">i4", ">i8")
EVALUATOR, STORAGE = ("keyholder", "evaluator"), ("keyholder", "storage")
NAMES = ["canary-aunt-Vera.bmp", "canary-passport-scan.bmp", "canary-third.bmp", "canary-fourth.bmp"]
ALBUM = "canary album of the clinic"
SERVICE = "/blindsight.evaluator.v1.EvaluatorService/"


def blobs():
    """A picture with keypoints, no two places of which look alike: uint8 [HEIGHT, WIDTH, 3]."""
    coarse = Image.fromarray(RNG.integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), np.uint8))
    smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + RNG.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def aside(picture):
    """The same thing from aside, in other light."""
    moved = np.roll(picture, 2, axis=1).astype(np.int16)
    return np.clip(moved + RNG.integers(-9, 10, moved.shape), 0, 255).astype(np.uint8)


VIEWS = [blobs(), blobs()]
PICTURES = [one for view in VIEWS for one in (view, aside(view))]
# A pair, and another one of that size.
FIRST, OTHER = slice(0, 2), slice(2, 4)


def grey(picture):
    return np.asarray(Image.fromarray(picture).convert("L"))


def bits(scheme):
    return {"key_bits": 2048} if scheme == "paillier" else {}


OPERATIONS = {
    "filter": lambda vault, a, b, scheme: vault.filter(
        a, ["box:3", "brightness:9"], scheme=scheme, **bits(scheme)
    ),
    "magnitude": lambda vault, a, b, scheme: vault.filter(
        a, "sobel", scheme=scheme, colours="grey", **bits(scheme)
    ),
    "morphology": lambda vault, a, b, scheme: vault.filter(
        a, "erode:3:square:5", scheme=scheme, colours="grey", **bits(scheme)
    ),
    "difference": lambda vault, a, b, scheme: vault.diff(a, b, scheme=scheme, **bits(scheme)),
    "keypoints": lambda vault, a, b, scheme: vault.keypoints(a, scheme=scheme),
    "match": lambda vault, a, b, scheme: vault.match(a, b, scheme=scheme),
    "encrypted match": lambda vault, a, b, scheme: vault.match(a, b, scheme=scheme, encrypted=True),
}
DRAWN = ("keypoints", "match", "encrypted match")
RUNS = [
    (operation, scheme)
    for operation in OPERATIONS
    for scheme in ("bfv", "ckks", "paillier")
    if scheme != "paillier" or operation not in DRAWN
]


# --- what is looked for ----------------------------------------------------------------------------


def telling(data):
    """Runs of data that stand nowhere by accident: of many different bytes."""
    return [one for one in windows(data, 80) if len(set(one)) >= 6]


def forms(values):
    """Values in a row as bytes of any type, and as text."""
    flat = np.ascontiguousarray(values).ravel()
    exact = np.issubdtype(flat.dtype, np.integer)
    kinds = KINDS if exact else ("<f4", "<f8", ">f8")
    found = [one for kind in kinds for one in telling(flat.astype(kind).tobytes())]
    if exact:
        for start in range(0, len(flat) - 12, max(1, len(flat) // 50)):
            few = [str(one) for one in flat[start : start + 12].tolist()]
            found += [between.join(few).encode() for between in (" ", ", ", ",")]
    return found


def of_picture(picture):
    """Colours together, each by itself, and in grey."""
    return [one for values in (picture, *np.moveaxis(picture, 2, 0), grey(picture)) for one in forms(values)]


def of_features(features):
    """Places and descriptors in all numbers that the program makes of them, and in some that it might."""
    places = [features.places, *features.places.T, np.rint(features.places * 16).astype(np.int64)]
    vectors = features.descriptors
    whole = [
        np.rint(vectors * scale).astype(np.int64)
        for scale in (512, BFV_4096.gallery_scale, BFV_4096.query_scale)
    ]
    return {
        "places of keypoints": [
            *(form for one in places for form in forms(one)),
            *(repr(value).encode() for value in features.places.ravel().tolist() if len(repr(value)) > 12),
        ],
        "descriptors": [form for one in (vectors, *whole) for form in forms(one)],
    }


class Watching(keypoints.Detector):
    """Keeps the images that descriptors are made of."""

    def _finish(self, plan, base, answers):
        made = super()._finish(plan, base, answers)
        self.pyramids.append(made[0])
        return made


async def found_in(address, key_set, picture):
    """What the keyholder finds in a picture, found once more: BFV is exact, so it is the same."""
    evaluator, crypto = EvaluatorClient(address), Crypto(key_set, 1, CRYPTO)
    try:
        engine = RingEngine(BFV_4096, key_set.key_id, key_set.subkey("tiles"), evaluator, crypto)
        settings, seen = DetectionSettings(scheme="bfv"), keypoints.Seen(picture, grey(picture), "")
        detector = Watching(engine, settings.detection)
        detector.pyramids = []
        octaves = keypoints.octaves(settings, RingScheme(BFV_4096), *seen.grey.shape)
        async for _ in detector.run((seen, octaves)):
            pass
        return detector.features[0], detector.pyramids
    finally:
        await evaluator.close()
        crypto.close()


# --- one life of the services, listened to ---------------------------------------------------------


@dataclass
class Ears:
    """On the ways between services: every byte, and of the evaluator every message."""

    taps: dict[tuple[str, str], Tap] = field(default_factory=dict)
    relays: dict[tuple[str, str], Relay] = field(default_factory=dict)

    def way(self, client, server, address):
        if (client, server) == EVALUATOR:
            address = self.relays.setdefault((client, server), Relay(address)).address
        self.taps[client, server] = Tap(address)
        return self.taps[client, server].address

    def close(self):
        for one in (*self.taps.values(), *self.relays.values()):
            one.close()


class Moment:
    """What is heard, and what services write, from now on."""

    def __init__(self, ears, services):
        self._ears, self._services = ears, services
        self._before = {name: [len(one) for one in tap.recorded] for name, tap in ears.taps.items()}
        self._calls = len(ears.relays[EVALUATOR].calls)
        self._logs = {name: path.stat().st_size for name, path in self._paths()}

    def _paths(self):
        return [(name, self._services[name].log) for name in ("keyholder", "evaluator", "storage")]

    def passed(self, *way):
        recorded = self._ears.taps[way].recorded
        starts = self._before[way] + [0] * (len(recorded) - len(self._before[way]))
        return b"".join(one[start:] for one, start in zip(recorded, starts, strict=True))

    def calls(self):
        return self._ears.relays[EVALUATOR].calls[self._calls :]

    def logs(self):
        return {name: path.read_bytes()[self._logs[name] :] for name, path in self._paths()}

    def heard(self):
        """All of it, to be searched."""
        wires = {f"{client} to {server}": self.passed(client, server) for client, server in self._ears.taps}
        messages = {
            f"messages of {call.method}": b"".join(call.asked + call.answered) for call in self.calls()
        }
        metadata = {f"metadata of {call.method}": repr(call.metadata).encode() for call in self.calls()}
        return {**wires, **messages, **metadata, **{f"log of {one}": log for one, log in self.logs().items()}}


@pytest.fixture(scope="module")
def ears():
    made = Ears()
    yield made
    made.close()


@pytest.fixture(scope="module")
def services(tmp_path_factory, ears):
    workers = {name: {"workers": "1"} for name in ("keyholder", "evaluator")}
    settings = {**workers, "storage": NO_RENEWALS}
    running = Services(tmp_path_factory.mktemp("secrecy"), settings=settings, way=ears.way)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canary-holidays")
    for name, picture in zip(NAMES, PICTURES, strict=True):
        (folder / name).write_bytes(encoded(Image.fromarray(picture), "BMP"))
    return [folder / name for name in NAMES]


@pytest.fixture(scope="module")
def secret(services):
    return passphrase.from_file(services.folder / "keyholder.passphrase")


@pytest.fixture(scope="module")
def key_set(services, secret):
    return keyfile.read(services.folder / "keyholder" / "keys.bsky", secret)


@pytest.fixture(scope="module")
def features(services, key_set):
    """Of the first two pictures, with the images of their octaves."""
    address = services.address("evaluator")
    return [asyncio.run(found_in(address, key_set, one)) for one in PICTURES[FIRST]]


@pytest.fixture(scope="module")
def needles(key_set, secret, features, paths):
    """All that must not pass, by what it is."""
    keys = [key_material(key_set, secret, one) for one in (CKKS_4096, BFV_4096)]
    pyramids = [pyramid for _, made in features for pyramid in made]
    images = [image for one in pyramids for image in (*one.gaussians, *one.differences)]
    bases = [np.rint(one.gaussians[3, ::2, ::2] * 16).astype(np.int32) for one in pyramids]
    both = Features.joined([one for one, _ in features])
    return {
        **{name: keys[0][name] + keys[1][name] for name in keys[0]},
        **of_features(both),
        "pixels": [form for one in PICTURES for form in of_picture(one)],
        "images of an octave": [form for one in images for form in forms(one)],
        "bases of an octave": [form for one in bases for form in forms(one)],
        "names": [form for one in (*NAMES, ALBUM, paths[0].parent.name) for form in spelled(one.encode())],
    }


@pytest.fixture(scope="module")
def searching(needles):
    return Needles(needles)


@pytest.fixture(scope="module", params=RUNS, ids=" under ".join)
def heard(request, vault, services, ears, paths):
    """Three runs of one operation: of a pair, of the same pair again, of another pair of that size."""
    operation, scheme = request.param
    return (
        operation,
        scheme,
        [heard_of(vault, ears, services, operation, scheme, paths[pair]) for pair in (FIRST, FIRST, OTHER)],
    )


def heard_of(vault, ears, services, operation, scheme, pair):
    moment = Moment(ears, services)
    answer = OPERATIONS[operation](vault, *pair, scheme)
    return answer, moment.heard(), moment.calls()


# --- that it is not there --------------------------------------------------------------------------


def test_nothing_of_the_owners_passes_or_is_logged(heard, searching):
    _, scheme, runs = heard
    for answer, haystacks, calls in runs[::2]:
        account = answer.account
        assert account.scheme == scheme
        # All that the answer tells of was listened to, on the wire and as messages.
        least = account.sent_bytes + account.received_bytes
        assert least > 20_000
        assert len(haystacks["keyholder to evaluator"]) > least
        assert sum(len(one) for call in calls for one in (*call.asked, *call.answered)) > least
        assert searching.found_in(haystacks) == {}
        assert all(b'"event": "rpc"' in haystacks[f"log of {one}"] for one in ("keyholder", "evaluator"))


def test_no_result_passes(heard):
    _, _, runs = heard
    for answer, haystacks, _ in runs[::2]:
        assert Needles({"a result": forms(result(answer))}).found_in(haystacks) == {}


def result(answer):
    """Numbers that only the owner may have: pixels, places of keypoints, or of those that match."""
    if hasattr(answer, "keypoints"):
        return np.array([(one.x, one.y, one.scale, one.response) for one in answer.keypoints])
    if hasattr(answer, "matches"):
        assert answer.matches
        return np.array([(*one.a, *one.b, one.distance) for one in answer.matches])
    return answer.values


def test_no_key_passes(heard):
    _, scheme, runs = heard
    _, haystacks, _ = runs[0]
    seen = haystacks["keyholder to evaluator"]
    assert not any(magic in seen for magic in SECRET_MAGICS if len(magic) > 2)
    assert (PUBLIC_MAGIC in seen) == (scheme == "paillier")
    if scheme == "paillier":
        _, _, (modulus, *_) = read_numbers(PUBLIC_MAGIC, _public_key(runs[0][2]))
        assert modulus.bit_length() == 2048
        assert not factor_of(modulus, seen[:100_000])


def _public_key(calls):
    (call, *_) = calls
    if call.method.endswith("Combine"):
        return next(
            message.header.public_key
            for message in map(pb.CombineRequest.FromString, call.asked)
            if message.HasField("header")
        )
    return pb.TransformRequest.FromString(call.asked[0]).header.planes.paillier.public_key


def test_the_same_pictures_look_different_every_time(heard):
    _, _, runs = heard
    first, second = (b"".join(one for call in calls for one in call.asked) for _, _, calls in runs[:2])
    assert shared(first, first) == 1
    assert shared(first, second) < 0.05  # headers, kernels and digests of nothing


def shared(first, second):
    """The share of runs of one that stand in the other."""
    places = np.linspace(0, len(first) - 16, 1000).astype(int)
    return np.mean([first[place : place + 16] in second for place in places])


def test_another_pair_of_that_size_makes_as_many_messages_of_the_same_sizes(heard):
    _, _, runs = heard
    once, again, other = ([told(call) for call in calls if told(call)] for _, _, calls in runs)
    assert once == again == other
    assert once


def told(call):
    """All that sizes tell, but for what a key and keypoints are known to do to them; None for nothing."""
    method, asked, answered = call.sizes
    if method.endswith("CompareAll"):
        return None  # about how many keypoints there are
    if PUBLIC_MAGIC in call.asked[0]:
        return method, asked[1:], answered  # the numbers of a key are a byte shorter now and then
    return call.sizes


def test_storage_hears_nothing_of_files(heard):
    _, _, runs = heard
    for _, haystacks, _ in runs:
        assert haystacks["keyholder to storage"] == haystacks["evaluator to storage"] == b""


def test_the_operations_make_all_calls_of_image_processing(vault, ears, services, paths):
    moment = Moment(ears, services)
    for operation in ("filter", "difference", "encrypted match"):
        OPERATIONS[operation](vault, *paths[FIRST], "bfv")
    made = Counter(call.method.removeprefix(SERVICE) for call in moment.calls())
    assert set(made) == {"Transform", "Difference", "ScaleSpace", "CompareAll"}


# --- that the search would find it -----------------------------------------------------------------


def test_keypoints_that_are_looked_for_are_those_that_were_answered(vault, paths, features):
    answer = vault.keypoints(paths[0], scheme="bfv")
    found, pyramids = features[0]
    assert len(found) > 10
    assert len(pyramids) == answer.account.round_trips
    places = [(one.x, one.y) for one in answer.keypoints]
    np.testing.assert_allclose(found.places, places, rtol=1e-6)


def test_whatever_passed_in_the_clear_would_be_found(ears, services, needles, searching):
    """A message in the clear, by the same way, to the same evaluator, which refuses it."""
    with grpc.insecure_channel(ears.taps[EVALUATOR].address) as channel:
        stub = evaluator_pb2_grpc.EvaluatorServiceStub(channel)
        for name, hidden in needles.items():
            moment = Moment(ears, services)
            header = pb.TransformRequest(header=pb.TransformHeader(planes=pb.PlaneSource()))
            plain = pb.TransformRequest(tiles=pb.PlaneTiles(block=b"..." + hidden[len(hidden) // 2] + b"..."))
            with pytest.raises(grpc.RpcError):
                list(stub.Transform(iter([plain, header]), timeout=30))
            found = searching.found_in(moment.heard())
            wire, messages = f"{EVALUATOR[0]} to {EVALUATOR[1]}", f"messages of {SERVICE}Transform"
            assert found == {wire: {name}, messages: {name}}


def test_every_form_of_every_secret_would_be_found(needles, searching):
    for name, hidden in needles.items():
        assert len(hidden) >= 8
        for one in hidden[:: max(1, len(hidden) // 500)]:
            assert name in searching.found(b"-" + one + b"-")


# --- stored photos ---------------------------------------------------------------------------------


def test_nothing_of_a_stored_photo_passes_whatever_is_done_with_it(vault, services, ears, searching):
    moment = Moment(ears, services)
    album = vault.create_collection(ALBUM, scheme="bfv", embedder="pixels")
    photos = [(name, encoded(Image.fromarray(one), "BMP")) for name, one in zip(NAMES, PICTURES, strict=True)]
    ids = [item.id for item in album.ingest(photos[FIRST], planes=True, plane_halo=1).items]
    fetching = Moment(ears, services)
    first, second = (StoredPhoto(ALBUM, one) for one in ids)
    where_they_are = [vault.filter(first, "box:3"), vault.diff(first, second)]
    anew = [
        vault.filter(first, "box:5"),
        vault.filter(first, "erode:3:square:5"),
        vault.match(first, second, encrypted=True, octaves=1),
    ]
    assert [one.account.sent_bytes for one in where_they_are] == [0, 0]
    assert min(one.account.sent_bytes for one in anew) > 0
    results = [form for one in (*where_they_are, *anew[:2]) for form in forms(one.values)]
    for way in (EVALUATOR, STORAGE, ("evaluator", "storage")):
        assert len(fetching.passed(*way)) > 100_000
    haystacks = moment.heard()
    assert searching.found_in(haystacks) == {}
    own = Needles({"a result": results, "an id": [form for one in ids for form in spelled(one.encode())]})
    assert own.found_in(haystacks) == {}
    for name in ("storage", "evaluator"):
        assert searching.found_in(contents(Path(services.folder / name))) == {}
