"""Pictures by services that lie: a wrong result of any operation, under any scheme, is none.

Real services, with relays between them that change what the evaluator computes or storage gives back.  Every
lie is noticed before anything is answered, leaves an alarm, and the next job of honest services is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.command import run_here
from support.lying import EVALUATOR, LOG, STORAGE, World, lying_services
from support.photos import encoded

from blindsight.additive.block import HEADER as ADDITIVE_HEADER
from blindsight.additive.block import parse_header as parse_additive
from blindsight.additive.keys import AdditivePublicKey
from blindsight.ciphertext.residues import full_block, view_block
from blindsight.client import Collection, StoredPhoto, Vault
from blindsight.errors import DataLoss
from blindsight.parameters import BFV_4096, CKKS_4096
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime.transfer import digest

RING = {"bfv": BFV_4096, "ckks": CKKS_4096}
RPCS = {
    f"/blindsight.evaluator.v1.EvaluatorService/{name}": getattr(pb, f"{name}Response")
    for name in ("Transform", "Difference", "ScaleSpace")
}
TRANSFORM, DIFFERENCE, SCALE_SPACE = RPCS
COMBINE = "/blindsight.evaluator.v1.EvaluatorService/Combine"
PLANES = "/blindsight.storage.v1.StorageService/ReadPlanes"
RNG = np.random.default_rng(4)
# Four tiles of BFV and CKKS.
PICTURE = RNG.integers(0, 256, (70, 90), np.uint8)
OTHER = RNG.integers(0, 256, (70, 90), np.uint8)
# Under Paillier: two ciphertexts or more, whose keys are most of the work.
SMALL, SMALL_OTHER = PICTURE[:8, :24], OTHER[:8, :24]
# With keypoints in the first octave, for which it is made twice as large; lies about that one are tried.
BLOBS, OTHER_BLOBS = (
    np.asarray(Image.fromarray(one[:10, :12]).resize((48, 40), Image.Resampling.BICUBIC))
    for one in (PICTURE, OTHER)
)
OCTAVES = 1
HALO = 9


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with lying_services(tmp_path_factory.mktemp("lies"), World) as services:
        yield services


@pytest.fixture
def honest(world: World) -> Iterator[World]:
    """The services, which tell the truth again at the end."""
    yield world
    world.tell_the_truth()


def file(picture: Any) -> bytes:
    return encoded(Image.fromarray(picture), "PNG")


@dataclass
class Album:
    """A collection of two photos of one size, with planes.

    Attributes:
        found: the ids of its photos by their names.
    """

    collection: Collection
    found: dict[str, str]

    @property
    def name(self) -> str:
        return self.collection.name


@pytest.fixture(scope="module", params=RING)
def album(request: pytest.FixtureRequest, world: World) -> Album:
    collection = world.vault.create_collection(f"album {request.param}", scheme=request.param)
    photos = [(name, file(one)) for name, one in (("one", PICTURE), ("other", OTHER))]
    report = collection.ingest(photos, planes=True, plane_halo=HALO)
    assert report.stored == 2
    return Album(collection, {name: item.id for (name, _), item in zip(photos, report.items, strict=True)})


def refused(world: World, ask: Callable[[], object], before: str | None = None) -> tuple[str, str]:
    """Asks, and returns why there is no answer, and the alarm that tells of it.

    Args:
        before: the alarm until then, where it is known: asking is a third of the work.
    """
    before = world.alarm() if before is None else before
    with pytest.raises(DataLoss) as caught:
        ask()
    alarm = world.alarm()
    assert alarm != before
    return str(caught.value), alarm


# --- the evaluator's results ----------------------------------------------------------------------------


@dataclass
class Results:
    """What the evaluator answers to one call: messages, of which tests change the results.

    Attributes:
        request: the header that it was asked with.
        parts: all messages, as the keyholder will get them.
    """

    kind: Any
    request: Any
    parts: list[Any]

    @property
    def results(self) -> list[Any]:
        return [part.result for part in self.parts if part.WhichOneof("part") == "result"]

    @property
    def is_additive(self) -> bool:
        return self.results[0].block.startswith(b"BSAC")

    def change_tiles(self, change: Callable[[Any], None], result: Any = None) -> None:
        """Changes the ciphertexts of a result: uint32 [count, 2, primes, N], or an array of numbers."""
        result = self.results[0] if result is None else result
        if self.is_additive:
            header, numbers = result.block[: ADDITIVE_HEADER.size], self.numbers(result)
            change(numbers)
            size = parse_additive(result.block).number_bytes
            result.block = header + b"".join(int(one).to_bytes(size, "little") for one in numbers)
            return
        block = view_block(result.block, parameters_of(result.block), result.block[16:32])
        residues = block.residues.copy()
        change(residues)
        result.block = full_block(block.header.parameters, block.header.key_id, residues).to_bytes()

    @staticmethod
    def numbers(result: Any) -> Any:
        size = parse_additive(result.block).number_bytes
        data = result.block[ADDITIVE_HEADER.size :]
        return np.array(
            [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)], object
        )


def parameters_of(block: bytes) -> Any:
    (found,) = (one for one in RING.values() if one.number == int.from_bytes(block[8:10], "little"))
    return found


Lie = Callable[[Results], None]


def first_residue(results: Results) -> None:
    def change(tiles: Any) -> None:
        tiles[(0,) * tiles.ndim] ^= 1

    results.change_tiles(change)


def last_residue(results: Results) -> None:
    def change(tiles: Any) -> None:
        if tiles.ndim == 1:
            tiles[-1] = tiles[-1] - 1
        else:
            tiles[-1, -1, -1, -1] ^= 1

    results.change_tiles(change, results.results[-1])


def zeros(results: Results) -> None:
    """Encryptions of nothing: all zeros under BFV and CKKS, ones under Paillier."""
    for result in results.results:
        results.change_tiles(lambda tiles: tiles.__setitem__(slice(None), int(tiles.ndim == 1)), result)


def exchanged_tiles(results: Results) -> None:
    """Two of a result; of a row of a single ciphertext, that and the next row's."""
    first, second, *_ = [one for one in results.results if one.kernel == results.results[0].kernel] * 2

    def change(tiles: Any) -> None:
        if len(tiles) > 1:
            tiles[[0, 1]] = tiles[[1, 0]]
        else:
            second.block, tiles[:] = first.block, results.numbers(second)

    results.change_tiles(change)


def a_tile_twice(results: Results) -> None:
    def change(tiles: Any) -> None:
        if len(tiles) > 1:
            tiles[1] = tiles[0]
        else:
            tiles[:] = results.numbers(results.results[-1])

    results.change_tiles(change)


def by_one(results: Results) -> None:
    """One pixel more by one: q / t, the scale, or a product with 1 + n."""

    def change(tiles: Any) -> None:
        if tiles.ndim == 1:
            n = AdditivePublicKey.from_bytes(results.request.planes.paillier.public_key).numbers[0]
            tiles[0] = tiles[0] * (1 + n) % n**2
            return
        parameters = parameters_of(results.results[0].block)
        one = (
            parameters.modulus // parameters.plain_modulus
            if parameters.plain_modulus
            else round(parameters.gallery_scale)
        )
        # In NTT form, a constant polynomial has the same value everywhere: pixel 0 of every tile.
        primes = np.array(parameters.primes, np.uint64)[:, None]
        tiles[:, 0] = (tiles[:, 0] + one % primes) % primes

    results.change_tiles(change)


def a_tile_less(results: Results) -> None:
    result = results.results[0]
    if results.is_additive:
        size = parse_additive(result.block).number_bytes
        result.block = result.block[:-size]
        return
    block = view_block(result.block, parameters_of(result.block), result.block[16:32])
    result.block = full_block(block.header.parameters, block.header.key_id, block.residues[:-1]).to_bytes()


def a_result_less(results: Results) -> None:
    results.parts.remove(next(part for part in results.parts if part.WhichOneof("part") == "result"))


def exchanged_kernels(results: Results) -> None:
    """Where there are two; with one, two rows of tiles or two messages."""
    first = results.results[0]
    other = next(
        (one for one in results.results if one.kernel != first.kernel and one.first == first.first), None
    )
    if other is None:
        exchanged_tiles(results)
    else:
        first.block, other.block = other.block, first.block


def forged(results: Results) -> None:
    """Ciphertexts of the attacker's own choice."""
    random = np.random.default_rng(1)

    def change(tiles: Any) -> None:
        if tiles.ndim == 1:
            tiles[:] = [int.from_bytes(random.bytes(500), "little") | 1 for _ in tiles]
        else:
            tiles[:] = random.integers(0, 1 << 26, tiles.shape, np.uint32)

    for result in results.results:
        results.change_tiles(change, result)


LIES: dict[str, Lie] = {
    lie.__name__.replace("_", " "): lie
    for lie in (
        first_residue,
        last_residue,
        zeros,
        exchanged_tiles,
        a_tile_twice,
        by_one,
        a_tile_less,
        a_result_less,
        exchanged_kernels,
        forged,
    )
}


def have_lie(world: World, method: str, lie: Lie) -> None:
    kind = RPCS[method]
    request = getattr(pb, kind.__name__.replace("Response", "Request"))

    def change(messages: list[bytes]) -> list[bytes]:
        asked = world.relays[EVALUATOR].calls[-1].asked[0]
        results = Results(kind, request.FromString(asked).header, [kind.FromString(one) for one in messages])
        lie(results)
        return [part.SerializeToString() for part in results.parts]

    world.lie(EVALUATOR, method, change)


@dataclass(frozen=True)
class Asking:
    """A job, and the method by which the evaluator does its part.

    Attributes:
        ask: returns something that is equal for equal results; of other pictures, if it is told to.
    """

    method: str
    ask: Callable[[Vault, str, bool], Any]


def picture_of(scheme: str, other: bool) -> Any:
    if scheme in RING:
        return OTHER if other else PICTURE
    return SMALL_OTHER if other else SMALL


def filtering(*operations: str) -> Asking:
    def ask(vault: Vault, scheme: str, other: bool) -> Any:
        bits = None if scheme in RING else 2048
        answer = vault.filter(picture_of(scheme, other), operations, scheme=scheme, key_bits=bits)
        return answer.values.tolist()

    return Asking(TRANSFORM, ask)


def subtracting(vault: Vault, scheme: str, other: bool) -> Any:
    pictures = PICTURE.repeat(3, axis=0).repeat(3, axis=1), OTHER.repeat(3, axis=0).repeat(3, axis=1)
    answer = vault.diff(*(pictures[::-1] if other else pictures), scheme=scheme)
    return answer.values.tolist()


def finding(vault: Vault, scheme: str, other: bool) -> Any:
    found = vault.keypoints(OTHER_BLOBS if other else BLOBS, scheme=scheme, octaves=OCTAVES)
    assert found.keypoints
    return [(round(one.x), round(one.y)) for one in found.keypoints]


def matching(vault: Vault, scheme: str, other: bool) -> Any:
    pictures = (OTHER_BLOBS, BLOBS) if other else (BLOBS, OTHER_BLOBS)
    found = vault.match(*pictures, scheme=scheme, octaves=OCTAVES)
    assert min(found.keypoints_a, found.keypoints_b) > 0
    return len(found.matches), found.verified


JOBS = {
    "gaussian": filtering("gaussian:3"),
    "sobel, two kernels": filtering("sobel"),
    "contrast, with an offset": filtering("contrast:1.5"),
    "erosion": filtering("erode:3:square:4"),
    "difference": Asking(DIFFERENCE, subtracting),
    "keypoints": Asking(SCALE_SPACE, finding),
    "match": Asking(SCALE_SPACE, matching),
}
WITH = [(scheme, job) for scheme in RING for job in JOBS] + [
    ("paillier", job) for job, asking in JOBS.items() if asking.method == TRANSFORM
]


@pytest.mark.parametrize(("scheme", "job"), WITH, ids=str)
def test_no_lie_about_any_operation_is_an_answer(honest: World, scheme: str, job: str) -> None:
    asking = JOBS[job]
    right, alarm = asking.ask(honest.vault, scheme, False), honest.alarm()
    for lie in LIES.values():
        have_lie(honest, asking.method, lie)
        said, alarm = refused(honest, lambda: asking.ask(honest.vault, scheme, False), alarm)
        assert "pictures of no collection" in alarm
        assert len(said.splitlines()) == 1
    honest.tell_the_truth()
    assert asking.ask(honest.vault, scheme, False) == right


@pytest.mark.parametrize(("scheme", "job"), WITH, ids=str)
@pytest.mark.parametrize("other", [True, False], ids=["another picture", "the same, earlier"])
def test_the_results_for_what_was_sent_before_are_none(
    honest: World, scheme: str, job: str, other: bool
) -> None:
    asking, kept = JOBS[job], []

    def keep(messages: list[bytes]) -> list[bytes]:
        kept.append(messages)
        return messages

    honest.lie(EVALUATOR, asking.method, keep)
    asking.ask(honest.vault, scheme, other)
    honest.lie(EVALUATOR, asking.method, lambda _: kept[0])
    refused(honest, lambda: asking.ask(honest.vault, scheme, False))


def test_a_lie_in_any_prime_alone_and_in_either_half_is_noticed(honest: World) -> None:
    alarm = honest.alarm()
    for scheme, parameters in RING.items():
        for row, half in np.ndindex(len(parameters.primes), 2):

            def lie(results: Results, row: int = row, half: int = half) -> None:
                def change(tiles: Any) -> None:
                    tiles[-1, half, row, 77] ^= 1

                results.change_tiles(change)

            have_lie(honest, TRANSFORM, lie)
            _, alarm = refused(
                honest, lambda scheme=scheme: JOBS["gaussian"].ask(honest.vault, scheme, False), alarm
            )


def test_opposite_lies_about_two_tiles_do_not_cancel(honest: World) -> None:
    def lie(results: Results) -> None:
        def change(tiles: Any) -> None:
            primes = np.array(BFV_4096.primes, np.uint64)[:, None]
            tiles[0] = (tiles[0] + np.uint64(1)) % primes
            tiles[1] = (tiles[1] + primes - np.uint64(1)) % primes

        results.change_tiles(change)

    have_lie(honest, TRANSFORM, lie)
    refused(honest, lambda: JOBS["gaussian"].ask(honest.vault, "bfv", False))


# --- photos in storage ----------------------------------------------------------------------------------


def stored(album: Album, name: str = "one") -> StoredPhoto:
    return StoredPhoto(album.name, album.found[name])


def subtracting_a_file(vault: Vault, album: Album) -> Any:
    answer = vault.diff(stored(album), OTHER)
    assert answer.account.stored == "in place"
    return answer.values.tolist()


def subtracting_both(vault: Vault, album: Album) -> Any:
    answer = vault.diff(stored(album), stored(album, "other"))
    assert answer.account.stored == "in place"
    return answer.values.tolist()


def filtering_in_place(vault: Vault, album: Album) -> Any:
    answer = vault.filter(stored(album), ["gaussian:3", "sobel"])
    assert answer.account.stored == "in place"
    return answer.values.tolist()


def finding_in_place(vault: Vault, album: Album) -> Any:
    found = vault.keypoints(stored(album), octaves=OCTAVES)
    assert found.account.stored == "in place"
    return [(one.x, one.y) for one in found.keypoints]


IN_PLACE = {
    "filter": (TRANSFORM, filtering_in_place),
    "a photo less a file": (DIFFERENCE, subtracting_a_file),
    "a photo less another": (DIFFERENCE, subtracting_both),
    "keypoints": (SCALE_SPACE, finding_in_place),
}


@pytest.mark.parametrize("job", IN_PLACE)
def test_no_lie_about_what_was_computed_of_stored_photos_is_an_answer(
    honest: World, album: Album, job: str
) -> None:
    method, ask = IN_PLACE[job]
    right, alarm = ask(honest.vault, album), honest.alarm()
    for lie in LIES.values():
        have_lie(honest, method, lie)
        _, alarm = refused(honest, lambda: ask(honest.vault, album), alarm)
        assert album.name in alarm
    honest.tell_the_truth()
    assert ask(honest.vault, album) == right


def altered_planes(change: Callable[[list[bytearray]], None]) -> Callable[[list[bytes]], list[bytes]]:
    """Changes the seal, which comes first, and the pieces of planes, with digests as for honest ones."""

    def lie(messages: list[bytes]) -> list[bytes]:
        header, *parts = map(storage_pb2.ReadPlanesResponse.FromString, messages)
        pieces: list[bytearray] = []
        for part in parts:
            if part.WhichOneof("part") == "piece":
                pieces.append(bytearray())
            else:
                pieces[-1] += part.chunk
        change(pieces)
        made = [header]
        for piece in pieces:
            told = storage_pb2.PieceHeader(size_bytes=len(piece), sha256=digest(bytes(piece)))
            made.append(storage_pb2.ReadPlanesResponse(piece=told))
            made += [
                storage_pb2.ReadPlanesResponse(chunk=bytes(piece[at : at + 65536]))
                for at in range(0, len(piece), 65536)
            ]
        return [one.SerializeToString() for one in made]

    return lie


def a_residue(pieces: list[bytearray]) -> None:
    pieces[1][4000] ^= 1


def a_seed(pieces: list[bytearray]) -> None:
    pieces[-1][-5] ^= 1


def exchanged_halves(pieces: list[bytearray]) -> None:
    """The first two tiles, with their seeds."""
    piece, count = pieces[1], int.from_bytes(pieces[1][12:16], "little")
    size, seeds = (len(piece) - 32 - 81 * count) // count, len(piece) - 81 * count
    for start, length in ((32, size), (seeds, 81)):
        first, second = slice(start, start + length), slice(start + length, start + 2 * length)
        piece[first], piece[second] = piece[second], piece[first]


ALTERED = [a_residue, a_seed, exchanged_halves]


def opened(vault: Vault, album: Album) -> Any:
    return album.collection.planes(album.found["one"]).tolist()


def decrypted(vault: Vault, album: Album) -> Any:
    answer = vault.filter(stored(album), "threshold:128")
    assert answer.account.stored == "decrypted"
    return answer.values.tolist()


@pytest.mark.parametrize("change", ALTERED)
def test_planes_that_were_altered_are_not_computed_with(
    honest: World, album: Album, change: Callable[[list[bytearray]], None]
) -> None:
    for way, asks in ((STORAGE, (opened, decrypted)), (LOG, (filtering_in_place, subtracting_a_file))):
        for ask in asks:
            right = ask(honest.vault, album)
            honest.lie(way, PLANES, altered_planes(change))
            _, alarm = refused(honest, lambda ask=ask: ask(honest.vault, album))
            assert album.name in alarm
            honest.tell_the_truth()
            assert ask(honest.vault, album) == right


def read_of(world: World, ask: Callable[[], object], way: tuple[str, str]) -> list[bytes]:
    """What storage answered to the last reading of planes of something that was asked."""
    ask()
    return [call for call in world.relays[way].calls if call.method == PLANES][-1].answered


@pytest.mark.parametrize("way", [STORAGE, LOG], ids=lambda way: way[0])
def test_the_planes_of_another_photo_are_not_taken_for_those_of_this_one(
    honest: World, album: Album, way: tuple[str, str]
) -> None:
    other = stored(album, "other")
    operation, ask = ("threshold:128", decrypted) if way == STORAGE else ("gaussian:3", filtering_in_place)
    kept = read_of(honest, lambda: honest.vault.filter(other, operation), way)
    right = ask(honest.vault, album)
    honest.lie(way, PLANES, lambda _: kept)
    refused(honest, lambda: ask(honest.vault, album))
    honest.tell_the_truth()
    assert ask(honest.vault, album) == right


@pytest.mark.parametrize("way", [STORAGE, LOG], ids=lambda way: way[0])
def test_the_planes_of_an_earlier_photo_of_the_same_id_are_not_taken_for_those_of_this_one(
    honest: World, album: Album, way: tuple[str, str]
) -> None:
    """The id is that of the content, so it is the same photo, encrypted again."""

    def put() -> str:
        report = album.collection.ingest([("again", file(SMALL))], planes=True, plane_halo=HALO)
        assert report.stored == 1
        return report.items[0].id

    photo = StoredPhoto(album.name, put())
    operation = "threshold:128" if way == STORAGE else "gaussian:3"

    def ask() -> Any:
        return honest.vault.filter(photo, operation).values.tolist()

    kept = read_of(honest, ask, way)
    album.collection.delete([photo.id])
    assert put() == photo.id
    right = ask()
    honest.lie(way, PLANES, lambda _: kept)
    refused(honest, ask)
    honest.tell_the_truth()
    assert ask() == right
    album.collection.delete([photo.id])


@pytest.mark.parametrize("field", ["width", "height", "halo"])
def test_another_geometry_than_that_of_the_photo_is_refused(honest: World, album: Album, field: str) -> None:
    def lie(messages: list[bytes]) -> list[bytes]:
        header = storage_pb2.ReadPlanesResponse.FromString(messages[0])
        planes = header.header.planes
        setattr(planes, field, getattr(planes, field) - 1)
        return [header.SerializeToString(), *messages[1:]]

    honest.lie(STORAGE, PLANES, lie)
    for ask in (opened, filtering_in_place):
        refused(honest, lambda ask=ask: ask(honest.vault, album))


# --- sums under additive schemes ------------------------------------------------------------------------


def sum_lies(world: World) -> Iterator[Callable[[bytes], bytes]]:
    """Changes of the block that the evaluator answers with: all that need no key."""

    def numbers(block: bytes) -> tuple[int, bytes]:
        return parse_additive(block).number_bytes, block[ADDITIVE_HEADER.size :]

    def exchanged(block: bytes) -> bytes:
        size, data = numbers(block)
        half = len(data) // 2 // size * size
        return block[: ADDITIVE_HEADER.size] + data[half:] + data[:half]

    def an_input(block: bytes) -> bytes:
        chunks = [
            one.chunk
            for one in map(pb.CombineRequest.FromString, world.relays[EVALUATOR].calls[-1].asked)
            if one.WhichOneof("part") == "chunk"
        ]
        return block[: ADDITIVE_HEADER.size] + b"".join(chunks)[ADDITIVE_HEADER.size : len(block)]

    def a_number_twice(block: bytes) -> bytes:
        size, data = numbers(block)
        half = len(data) // 2 // size * size
        return block[: ADDITIVE_HEADER.size] + data[:half] + data[:half] + data[2 * half :]

    yield from (exchanged, an_input, a_number_twice, lambda block: block[:-9])


def combine_lie(change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    def lie(messages: list[bytes]) -> list[bytes]:
        header, *parts = map(pb.CombineResponse.FromString, messages)
        data = change(b"".join(part.chunk for part in parts))
        chunks = [pb.CombineResponse(chunk=data[at : at + 65536]) for at in range(0, len(data), 65536)]
        return [one.SerializeToString() for one in (header, *chunks, parts[-1])]

    return lie


@pytest.mark.parametrize(
    "scheme", ["paillier", "scramble", "lightphe-okamoto-uchiyama", "lightphe-ec-elgamal"]
)
def test_no_lie_about_a_weighted_sum_is_an_answer(honest: World, scheme: str) -> None:
    size = {"lightphe-ec-elgamal": 4, "lightphe-okamoto-uchiyama": 100}.get(scheme, 600)
    arrays = [np.arange(size) % 251, (np.arange(size) * 7) % 241]
    bits = None if scheme in ("scramble", "lightphe-ec-elgamal") else 2048

    def ask() -> Any:
        made = honest.vault.combine(arrays, weights=[1, -1], scheme=scheme, key_bits=bits)
        return made.values.tolist()

    assert ask() == (arrays[0] - arrays[1]).tolist()
    for change in sum_lies(honest):
        honest.lie(EVALUATOR, COMBINE, combine_lie(change))
        refused(honest, ask)
    kept: list[list[bytes]] = []
    arrays.reverse()
    honest.lie(EVALUATOR, COMBINE, lambda messages: kept.append(messages) or messages)
    ask()
    arrays.reverse()
    honest.lie(EVALUATOR, COMBINE, lambda _: kept[0])
    refused(honest, ask)
    honest.tell_the_truth()
    assert ask() == (arrays[0] - arrays[1]).tolist()


@pytest.mark.parametrize("scheme", ["paillier", "scramble"])
def test_no_lie_about_a_difference_under_an_additive_scheme_is_an_answer(honest: World, scheme: str) -> None:
    bits = 2048 if scheme == "paillier" else None
    large = np.tile(SMALL, (4, 4)), np.tile(SMALL_OTHER, (4, 4))

    def ask() -> Any:
        return honest.vault.diff(*large, scheme=scheme, key_bits=bits).values.tolist()

    for change in sum_lies(honest):
        honest.lie(EVALUATOR, COMBINE, combine_lie(change))
        _, alarm = refused(honest, ask)
        assert "pictures of no collection" in alarm
    honest.tell_the_truth()
    assert ask() == (large[0].astype(int) - large[1]).tolist()


# --- what is told ---------------------------------------------------------------------------------------


def test_a_lie_is_an_exit_code_of_its_own_and_a_line_of_status(
    honest: World, album: Album, tmp_path: Any
) -> None:
    address = ("--address", honest.services.address())
    options = ("--collection", album.name, "--id", album.found["one"], "--op", "gaussian:3")

    def run() -> Any:
        return run_here("filter", *options, "-o", str(tmp_path / "smooth.png"), *address)

    have_lie(honest, TRANSFORM, first_residue)
    made = run()
    assert (made.returncode, len(made.stderr.splitlines())) == (3, 1)
    assert not (tmp_path / "smooth.png").exists()
    assert album.name in run_here("status", *address).stdout
    log = (honest.services.folder / "keyholder.log").read_text()
    assert any("answer_refused" in line and album.name in line for line in log.splitlines())
    honest.tell_the_truth()
    assert run().returncode == 0


# --- the key --------------------------------------------------------------------------------------------


def test_a_hundred_forged_results_are_refused_alike_whatever_they_decrypt_to(honest: World) -> None:
    """No oracle: neither what is said nor what is asked of services depends on what a forged result holds."""
    random = np.random.default_rng(9)

    def lie(results: Results) -> None:
        def change(tiles: Any) -> None:
            # A ciphertext of the attacker's choice: c1 is a constant, so that c1 s is a multiple of the key.
            tiles[:] = 0
            tiles[:, 0] = random.integers(0, 1 << 26, tiles[:, 0].shape, np.uint32)
            tiles[:, 1] = random.integers(1, 1 << 26)

        for result in results.results:
            results.change_tiles(change, result)

    before = honest.looked_up()
    said = set()
    for scheme in RING:
        have_lie(honest, TRANSFORM, lie)
        for _ in range(50):
            with pytest.raises(DataLoss) as caught:
                JOBS["gaussian"].ask(honest.vault, scheme, False)
            said.add(str(caught.value))
    assert len(said) == 1
    assert honest.looked_up() == before
