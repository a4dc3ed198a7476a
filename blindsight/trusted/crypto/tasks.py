"""What worker processes of the trusted zone are asked to do, as plain data, and which functions do it.

A new task is a class here, a function in `blindsight.trusted.crypto.computing`, and a row of `COMPUTE`.
Tasks have no representation: secret keys, photos and vectors go through them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.additive.block import AdditiveHeader
from blindsight.additive.schemes import AdditiveScheme
from blindsight.packing.columns import CollectionLayout, Floats, Layout
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.runtime.processpool import Compute, Task, compute_table
from blindsight.trusted.imaging import images
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.similarity.crossing import CrossLayout
from blindsight.trusted.similarity.linear import Reading

# Residues and seeds, to be joined into one block; numbers and nothing of an additive scheme.
Encrypted = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, repr=False)
class Start(Task[None]):
    """Gives a new worker the owner's keys.

    Attributes:
        secret_keys: by the name of a parameter set.
    """

    key_id: bytes
    secret_keys: dict[str, bytes]

    @classmethod
    def of(cls, keys: KeySet) -> Start:
        """With all keys of a key set; goes to new workers and nowhere else."""
        return cls(keys.key_id, {name: key.reveal_secret() for name, key in keys.secret_keys.items()})


@dataclass(frozen=True, slots=True, repr=False)
class Warm(Task[None]):
    """Loads every scheme, and what describes photos, so that the first request does not wait for it."""


# --- photos -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Embedded:
    """A photo's vector and what it is.

    Attributes:
        keypoints: packed, of embedder sift; else empty.
        remark: a sentence on what of the photo a search will not find; mostly empty.
    """

    vector: npt.NDArray[np.float32]
    media_type: str
    keypoints: bytes = b""
    remark: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Embed(Task[Embedded]):
    """Decodes a photo and describes it.

    Attributes:
        embedder, dimension, channels: see `embedders.create`.
        data: the photo's file.
    """

    embedder: str
    dimension: int
    channels: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two photos' keypoints agree; see `matching.Matches`."""

    inliers: int
    matches: int
    verified: bool


@dataclass(frozen=True, slots=True, repr=False)
class CompareKeypoints(Task[list[Agreement]]):
    """Compares packed keypoints with those of other photos, in their order."""

    query: bytes
    others: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, repr=False)
class DrawKeypoints(Task[tuple[bytes, bytes]]):
    """Draws a photo's keypoints: the photo, and the photo with them, two JPEG files."""

    data: bytes


@dataclass(frozen=True, slots=True, repr=False)
class DrawAgreement(Task[tuple[bytes, bytes]]):
    """Draws two photos' matches: the other photo, and both side by side, two JPEG files.

    Attributes:
        query, other: a photo's file and its packed keypoints.
    """

    query: tuple[bytes, bytes]
    other: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, repr=False)
class DecodePixels(Task[images.Pixels]):
    """Decodes a photo for planes; see `images.pixels`."""

    data: bytes
    colours: images.Colours


@dataclass(frozen=True, slots=True, repr=False)
class PlaneShape(Task[tuple[int, int, int]]):
    """Channels, height and width of a photo's planes; see `images.plane_shape`."""

    data: bytes
    colours: images.Colours


# --- vectors ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class EncryptRows(Task[Encrypted]):
    """Encrypts columns of a batch.

    Attributes:
        layout: of the segment, or a narrower one of some of its columns.
        rows: [count, row dimension].
        first_slot: of the first row.
    """

    parameter_set: str
    layout: Layout
    rows: Floats
    first_slot: int


@dataclass(frozen=True, slots=True, repr=False)
class DecryptRows(Task[Floats]):
    """Decrypts a segment from all of its batches: [capacity, row dimension].

    Attributes:
        layout: of the segment, or a narrower one of some of its columns.
        batches: blocks of the layout's columns.
    """

    parameter_set: str
    layout: Layout
    batches: list[bytes]


@dataclass(frozen=True, slots=True, repr=False)
class EncryptQueries(Task[Encrypted]):
    """Encrypts polynomials of queries, counted as [query][columns of the layout's regions].

    Attributes:
        forms: linear forms, [queries, row dimension].
        start, stop: first polynomial, and the one after the last.
    """

    parameter_set: str
    layout: CollectionLayout
    forms: Floats
    start: int
    stop: int


@dataclass(frozen=True, slots=True, repr=False)
class PlainQueries(Task[bytes]):
    """Packs linear forms [queries, row dimension] as the evaluator will see them."""

    parameter_set: str
    layout: Layout
    forms: Floats


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


@dataclass(frozen=True, slots=True, repr=False)
class PickBest(Task[list[list[Best]]]):
    """Decrypts results and picks the best, so that few numbers leave the worker: [segment][query].

    Attributes:
        block: ciphertexts [segment][query][field].
        live: for each segment, [fill] which slots count.
        pick: how many, and which are better.
    """

    parameter_set: str
    layout: Layout
    block: bytes
    live: list[npt.NDArray[np.bool_]]
    pick: Pick


@dataclass(frozen=True, slots=True, repr=False)
class EncryptPair(Task[tuple[bytes, bytes]]):
    """Encrypts one row and one linear form [row dimension]: the blocks of a segment and of a query."""

    parameter_set: str
    layout: Layout
    row: Floats
    form: Floats


@dataclass(frozen=True, slots=True, repr=False)
class DecryptPair(Task[Floats]):
    """Decrypts the products of what `EncryptPair` made: <row, form> of each field, [fields]."""

    parameter_set: str
    layout: Layout
    block: bytes


@dataclass(frozen=True, slots=True, repr=False)
class EncryptCrossed(Task[Encrypted]):
    """Encrypts whole groups of rows or of queries [count, dimension], each its columns."""

    parameter_set: str
    layout: CrossLayout
    vectors: Floats
    queries: bool


@dataclass(frozen=True, slots=True, repr=False)
class DecryptCrossed(Task[npt.NDArray[np.float32]]):
    """Decrypts products of groups: inner products [results, queries, rows]."""

    parameter_set: str
    layout: CrossLayout
    block: bytes


# --- planes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class EncryptPlanes(Task[bytes]):
    """Encrypts tiles [count, N] of pixels: a seeded block."""

    parameter_set: str
    tiles: Integers


@dataclass(frozen=True, slots=True, repr=False)
class DecryptPlanes(Task[npt.NDArray[np.uint8]]):
    """Decrypts tiles of pixels: uint8 [count, N]."""

    parameter_set: str
    block: bytes


@dataclass(frozen=True, slots=True, repr=False)
class DecryptResults(Task[npt.NDArray[np.int32]]):
    """Decrypts tiles that the evaluator computed: int32 [count, inner height, inner width]."""

    parameter_set: str
    layout: PlaneLayout
    block: bytes


# --- arrays under a key of their own ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class DecodeImage(Task[tuple[npt.NDArray[np.uint8], bool]]):
    """Decodes a picture: [height, width] or [height, width, 3], and whether it has no colour."""

    data: bytes
    colours: images.Colours


@dataclass(frozen=True, slots=True, repr=False)
class GenerateKey(Task[tuple[bytes, bytes]]):
    """Generates a key: the public half and the whole of it, in the wire form."""

    scheme: AdditiveScheme
    bits: int
    insecure_small_keys: bool


@dataclass(frozen=True, slots=True, repr=False)
class EncryptValues(Task[bytes]):
    """Encrypts values: the numbers of their ciphertexts.

    Attributes:
        secret: the key, in the wire form.
        header: of the block that they are a part of.
        values: [n], all of the block's or those of whole ciphertexts of it.
    """

    secret: bytes
    header: AdditiveHeader
    values: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, repr=False)
class DecryptValues(Task[npt.NDArray[np.int64]]):
    """Decrypts numbers of ciphertexts: values [columns].

    Attributes:
        secret: the key, in the wire form.
        header: of the block that they are a part of.
        columns: values of the ciphertexts, all of the block's or those of whole ciphertexts of it.
    """

    secret: bytes
    header: AdditiveHeader
    columns: int
    numbers: bytes


@dataclass(frozen=True, slots=True, repr=False)
class MeasureKey(Task[tuple[float, float]]):
    """Measures the seconds that a ciphertext takes to be encrypted and to be decrypted.

    Attributes:
        secret: the key, in the wire form.
        header: of a block of such ciphertexts.
        values: [n], at least those of one ciphertext.
    """

    secret: bytes
    header: AdditiveHeader
    values: npt.NDArray[np.int64]


COMPUTE: Compute = compute_table(
    "blindsight.trusted.crypto.computing",
    {
        Start: "keys:start",
        Warm: "keys:warm",
        Embed: "photos:embed",
        CompareKeypoints: "photos:compare_keypoints",
        DrawKeypoints: "photos:draw_keypoints",
        DrawAgreement: "photos:draw_agreement",
        DecodePixels: "photos:decode_pixels",
        PlaneShape: "photos:plane_shape",
        EncryptRows: "vectors:encrypt_rows",
        DecryptRows: "vectors:decrypt_rows",
        EncryptQueries: "vectors:encrypt_queries",
        PlainQueries: "vectors:plain_queries",
        PickBest: "vectors:pick_best",
        EncryptPair: "vectors:encrypt_pair",
        DecryptPair: "vectors:decrypt_pair",
        EncryptCrossed: "vectors:encrypt_crossed",
        DecryptCrossed: "vectors:decrypt_crossed",
        EncryptPlanes: "planes:encrypt_planes",
        DecryptPlanes: "planes:decrypt_planes",
        DecryptResults: "planes:decrypt_results",
        DecodeImage: "photos:decode_image",
        GenerateKey: "additive:generate_key",
        EncryptValues: "additive:encrypt_values",
        DecryptValues: "additive:decrypt_values",
        MeasureKey: "additive:measure_key",
    },
)
