"""What worker processes do with secrets and pixels: embed, encrypt, decrypt.

Functions here run in workers of a `WorkerPool`; everything that goes in and out is plain and pickles
cheaply.  A worker gets the secret keys once, when it starts.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.ciphertext.residues import CiphertextBlock, read_block, select
from blindsight.errors import DataLoss, InvalidCiphertext
from blindsight.packing.columns import CollectionLayout, Floats, Layout
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.parameters import ADDITIVE_SETS, PARAMETER_SETS
from blindsight.runtime import host as processes
from blindsight.trusted import embedders, schemes
from blindsight.trusted.additive import AdditiveKey, packed
from blindsight.trusted.embedders.sift import Sift
from blindsight.trusted.imaging import drawing, images, keypoints
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.secrets import Secret
from blindsight.trusted.similarity.crossing import CrossLayout
from blindsight.trusted.similarity.linear import Reading
from blindsight.trusted.similarity.ranking import best_of

# What a picture can come to under any scheme.
_LARGEST_RESULT = (1 << 31) - 1

_keys: dict[str, tuple[bytes, bytes]] = {}


def worker_arguments(keys: KeySet) -> tuple[bytes, dict[str, bytes]]:
    """What `start_worker` needs; goes through the pipe to a new worker and nowhere else."""
    return keys.key_id, {name: key.reveal_secret() for name, key in keys.secret_keys.items()}


def start_worker(key_id: bytes, secret_keys: dict[str, bytes]) -> None:
    """Initializer of a worker."""
    processes.keep_photos()
    for name, secret_key in secret_keys.items():
        _keys[name] = (key_id, secret_key)


@cache
def _scheme(parameter_set: str) -> schemes.SecretScheme:
    return schemes.load(PARAMETER_SETS[parameter_set], Secret(_keys[parameter_set][1]))


@cache
def _additive_key(parameter_set: str) -> AdditiveKey:
    return AdditiveKey.from_secret(Secret(_keys[parameter_set][1]))


def _key_id(parameter_set: str) -> bytes:
    return _keys[parameter_set][0]


def warm() -> None:
    """Loads every scheme, and what describes photos, so that the first request does not wait for it."""
    embedders.create(embedders.DEFAULT).embed(Image.linear_gradient("L"))
    for name in _keys:
        if name in ADDITIVE_SETS:
            _additive_key(name)
        else:
            _scheme(name)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A photo's vector and what it is.

    Attributes:
        keypoints: packed, of embedder sift; else empty.
        remark: what of the photo a search will not find, for people; mostly empty.
    """

    vector: npt.NDArray[np.float32]
    media_type: str
    keypoints: bytes = b""
    remark: str = ""


def embed(embedder: str, dimension: int, channels: str, data: bytes) -> Embedded:
    """Decodes a photo and describes it.

    Raises:
        InvalidImage: when it is none, see `images.decode`.
    """
    made = embedders.create(embedder, dimension, channels)
    image = images.decode(data, at_least=made.at_least)
    media_type = images.media_type(data)
    if not isinstance(made, Sift):
        return Embedded(made.embed(image), media_type)
    found = keypoints.find(image)
    remark = f"no search will find it: {keypoints.too_few(found)}" if len(found) < keypoints.LEAST else ""
    return Embedded(made.vector(found), media_type, keypoints.pack(found), remark)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two photos' keypoints agree; see `matching.Matches`."""

    inliers: int
    matches: int
    verified: bool


def compare_keypoints(query: bytes, others: list[bytes]) -> list[Agreement]:
    """Compares packed keypoints with those of other photos.

    Raises:
        DataLoss: for bytes that are none.
    """
    first = keypoints.unpack(query)
    made = [keypoints.compare(first, keypoints.unpack(other)) for other in others]
    return [Agreement(one.inlier_count, len(one), one.verified) for one in made]


def draw_keypoints(data: bytes) -> tuple[bytes, bytes]:
    """A photo, and the photo with its keypoints: two JPEG files."""
    picture = _bounded(data)
    drawn = drawing.draw_keypoints(np.asarray(picture), keypoints.find(picture).features)
    return drawing.jpeg(picture), drawing.jpeg(drawn)


def draw_agreement(query: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """The other photo, and both side by side with their matches: two JPEG files.

    Args:
        query, other: a photo's file and its packed keypoints.
    """
    pictures = [_bounded(data) for data, _ in (query, other)]
    found = [keypoints.unpack(packed) for _, packed in (query, other)]
    first, second = (np.asarray(picture) for picture in pictures)
    features = found[0].features, found[1].features
    drawn = drawing.draw_matches(first, second, features, keypoints.compare(*found))
    return drawing.jpeg(pictures[1]), drawing.jpeg(drawn)


def _bounded(data: bytes) -> Image.Image:
    """A photo as its keypoints were found in it."""
    return keypoints.bounded(images.decode(data, at_least=Sift.at_least))


def pixels(data: bytes, colours: images.Colours) -> images.Pixels:
    """Decodes a photo for planes; see `images.pixels`."""
    return images.pixels(data, colours)


def plane_shape(data: bytes, colours: images.Colours) -> tuple[int, int, int]:
    """How large a photo's planes would be; see `images.plane_shape`."""
    return images.plane_shape(data, colours)


def encrypt_planes(parameter_set: str, tiles: Integers) -> bytes:
    """Encrypts tiles [count, N] of pixels: a seeded block."""
    return _scheme(parameter_set).encrypt_planes(tiles, _key_id(parameter_set)).to_bytes()


def decrypt_planes(parameter_set: str, block: bytes) -> npt.NDArray[np.uint8]:
    """Decrypts tiles of pixels: uint8 [count, N].

    Raises:
        InvalidCiphertext: when the bytes are no block of this key.
        DataLoss: when what it holds is no pixels.
    """
    parsed = read_block(block, PARAMETER_SETS[parameter_set], _key_id(parameter_set))
    values = _scheme(parameter_set).decrypt_planes(parsed)
    if values.min() < 0 or values.max() > np.iinfo(np.uint8).max:
        raise DataLoss("the planes do not hold pixels: their ciphertexts are not those that were stored")
    return values.astype(np.uint8)


Encrypted = tuple[bytes, bytes]


def encrypt_rows(parameter_set: str, layout: Layout, rows: Floats, first_slot: int) -> Encrypted:
    """Encrypts columns of a batch; a caller may give some of the columns as a narrower layout.

    Returns:
        residues and seeds, to be joined into one block; numbers and nothing of an additive scheme.
    """
    coefficients = layout.pack(rows, first_slot)
    if parameter_set in ADDITIVE_SETS:
        key, parameters = _additive_key(parameter_set), ADDITIVE_SETS[parameter_set]
        return packed.encrypt(key, parameters, coefficients), b""
    return _parts(_scheme(parameter_set).encrypt_gallery(coefficients, _key_id(parameter_set)))


def plain_queries(parameter_set: str, layout: Layout, forms: Floats) -> bytes:
    """Linear forms [queries, row dimension] as the evaluator will see them; see `packed.plain_queries`."""
    return packed.plain_queries(_additive_key(parameter_set), ADDITIVE_SETS[parameter_set], layout, forms)


def encrypt_query(
    parameter_set: str, layout: CollectionLayout, forms: Floats, start: int, stop: int
) -> Encrypted:
    """Encrypts polynomials `start` to `stop` of queries, counted as [query][columns of the layout's regions].

    Args:
        forms: linear forms, [queries, row dimension].
    """
    per_query = layout.query_ciphertexts
    polynomials = []
    for index in range(start // per_query, -(-stop // per_query)):
        packed = np.concatenate([layout.of(region).pack_query(forms[index]) for region in layout.regions])
        low = max(start - index * per_query, 0)
        polynomials.append(packed[low : stop - index * per_query])
    coefficients = np.concatenate(polynomials)
    return _parts(_scheme(parameter_set).encrypt_query(coefficients, _key_id(parameter_set)))


def _parts(block: CiphertextBlock) -> Encrypted:
    if block.seeds is None:
        raise ValueError("fresh ciphertexts are seeded")
    return block.residues.tobytes(), block.seeds.tobytes()


@dataclass(frozen=True, slots=True)
class Pick:
    """What is wanted of a block of results.

    Attributes:
        readings: of the queries; for each segment there are as many results.
        k: how many of each result.
    """

    readings: tuple[Reading, ...]
    k: int


@dataclass(frozen=True, slots=True)
class Best:
    """The best in one segment for one query, best first.

    Attributes:
        slots: where they stand.
        scores: [count].
        parts: [count, parts], what each score was made of.
    """

    slots: npt.NDArray[np.intp]
    scores: Floats
    parts: Floats


def best_scores(
    parameter_set: str, layout: Layout, block: bytes, live: list[npt.NDArray[np.bool_]], pick: Pick
) -> list[list[Best]]:
    """Decrypts results and picks the best, so that few numbers leave the worker.

    Args:
        block: ciphertexts [segment][query][field].
        live: for each segment, [fill] which slots count.
        pick: how many, and which are better.

    Returns:
        [segment][query].

    Raises:
        InvalidCiphertext: when the evaluator sent something else.
    """
    shape = len(live), len(pick.readings), len(layout.fields)
    coefficients, grid = _products(parameter_set, block)
    if len(coefficients) != math.prod(shape):
        raise InvalidCiphertext(f"{len(coefficients)} results, want {' x '.join(map(str, shape))}")
    products = layout.scores(coefficients)
    rounded = (np.rint(products / grid) * grid).reshape(*shape, layout.capacity)
    return [
        [
            _best(by_field.T, np.flatnonzero(slots), reading, pick.k)
            for by_field, reading in zip(by_query, pick.readings, strict=True)
        ]
        for by_query, slots in zip(rounded, live, strict=True)
    ]


def _products(parameter_set: str, block: bytes) -> tuple[Floats, float]:
    """Decrypted results [count, N], and what they are rounded to."""
    if parameter_set in ADDITIVE_SETS:
        additive = ADDITIVE_SETS[parameter_set]
        return packed.decrypt_scores(_additive_key(parameter_set), additive, block), additive.score_grid
    parameters = PARAMETER_SETS[parameter_set]
    parsed = read_block(block, parameters, _key_id(parameter_set))
    return _scheme(parameter_set).decrypt_scores(parsed.residues), parameters.score_grid


def _best(products: Floats, slots: npt.NDArray[np.intp], reading: Reading, k: int) -> Best:
    """Of products [capacity, fields], in slots that hold an item."""
    scores = reading.scores(products[slots])
    chosen = best_of(scores, k, largest=reading.higher_is_better)
    return Best(slots[chosen], scores[chosen], reading.parts(products[slots[chosen]]))


def encrypt_pair(parameter_set: str, layout: Layout, row: Floats, form: Floats) -> tuple[bytes, bytes]:
    """Encrypts one row and one linear form: the blocks of a segment and of a query.

    Args:
        layout: of the segment.
        row, form: [row dimension].
    """
    scheme, key_id = _scheme(parameter_set), _key_id(parameter_set)
    balance = PARAMETER_SETS[parameter_set].pair_balance
    gallery = scheme.encrypt_gallery(layout.pack(row[None] * balance), key_id)
    query = scheme.encrypt_query(layout.pack_query(form / balance), key_id)
    return gallery.to_bytes(), query.to_bytes()


def decrypt_pair(parameter_set: str, layout: Layout, block: bytes) -> Floats:
    """Decrypts the products of what `encrypt_pair` made: <row, form> of each field, [fields].

    Raises:
        InvalidCiphertext: when the evaluator sent something else.
    """
    parameters = PARAMETER_SETS[parameter_set]
    parsed = read_block(block, parameters, _key_id(parameter_set))
    got = parsed.header.count, parsed.header.polynomials
    if got != (len(layout.fields), 3):
        raise InvalidCiphertext(f"{got[0]} results of {got[1]} polynomials, want {len(layout.fields)} of 3")
    products = layout.scores(_scheme(parameter_set).decrypt_scores(parsed.residues))[:, 0]
    rounded: Floats = np.rint(products / parameters.pair_grid) * parameters.pair_grid
    return rounded


def encrypt_crossed(parameter_set: str, layout: CrossLayout, vectors: Floats, *, queries: bool) -> Encrypted:
    """Encrypts whole groups of rows or of queries [count, dimension], each its columns.

    Both sides have the same scale, as those of a single pair.
    """
    scheme, key_id = _scheme(parameter_set), _key_id(parameter_set)
    balance = PARAMETER_SETS[parameter_set].pair_balance
    if queries:
        return _parts(scheme.encrypt_query(layout.pack_queries(vectors) / balance, key_id))
    return _parts(scheme.encrypt_gallery(layout.pack_rows(vectors) * balance, key_id))


def decrypt_crossed(parameter_set: str, layout: CrossLayout, block: bytes) -> npt.NDArray[np.float32]:
    """Decrypts products of groups: inner products [results, queries, rows].

    Raises:
        InvalidCiphertext: when the evaluator sent something else.
    """
    parameters = PARAMETER_SETS[parameter_set]
    parsed = read_block(block, parameters, _key_id(parameter_set))
    if parsed.header.polynomials != 3:
        raise InvalidCiphertext(f"results of {parsed.header.polynomials} polynomials, want 3")
    scores = layout.scores(_scheme(parameter_set).decrypt_scores(parsed.residues))
    grid = parameters.pair_grid
    rounded: npt.NDArray[np.float32] = (np.rint(scores / grid) * grid).astype(np.float32)
    return rounded


def decrypt_rows(parameter_set: str, layout: Layout, batches: list[bytes]) -> Floats:
    """Decrypts a segment from all of its batches: [capacity, row dimension].

    A caller may give some of the columns as a narrower layout.
    """
    if parameter_set in ADDITIVE_SETS:
        key, additive = _additive_key(parameter_set), ADDITIVE_SETS[parameter_set]
        return layout.unpack(packed.decrypt_columns(key, additive, batches))
    parameters = PARAMETER_SETS[parameter_set]
    blocks = [read_block(batch, parameters, _key_id(parameter_set)) for batch in batches]
    return layout.unpack(_scheme(parameter_set).decrypt_gallery(blocks))


def encrypt_tiles(parameter_set: str, tiles: Integers) -> tuple[bytes, float]:
    """Like `encrypt_planes`; the block, and the seconds."""
    started = time.perf_counter()
    return encrypt_planes(parameter_set, tiles), time.perf_counter() - started


def decrypt_results(
    parameter_set: str, layout: PlaneLayout, block: bytes
) -> tuple[npt.NDArray[np.int32], float]:
    """Decrypts tiles that the evaluator computed: int32 [count, inner height, inner width], and the seconds.

    Raises:
        InvalidCiphertext: when the evaluator sent something else.
    """
    started = time.perf_counter()
    parsed = read_block(block, PARAMETER_SETS[parameter_set], _key_id(parameter_set))
    values = np.zeros((parsed.header.count, layout.ring_degree), np.int64)
    # A difference of the same ciphertexts is zeros, which SEAL refuses; without a second half none is hidden.
    hidden = parsed.residues[:, 1].any(axis=(1, 2))
    if parsed.residues[~hidden].any():
        raise InvalidCiphertext("the evaluator answered with tiles that are not encrypted")
    (there,) = np.nonzero(hidden)
    if there.size:
        values[there] = _scheme(parameter_set).decrypt_planes(select(parsed, there))
    if values.min() < -_LARGEST_RESULT or values.max() > _LARGEST_RESULT:
        raise InvalidCiphertext("results that no picture has: the evaluator computed something else")
    inner = np.ascontiguousarray(layout.inner(values), np.int32)
    return inner, time.perf_counter() - started
