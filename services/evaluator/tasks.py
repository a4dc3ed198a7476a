"""Tasks of worker processes as plain data, and the functions that run them.

A new task is a class here, a function in `services.evaluator.computing`, and a row of `COMPUTE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blindsight.additive.block import AdditiveHeader
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import ParameterSet
from blindsight.runtime.processpool import Compute, Task, compute_table
from services.evaluator.geometry import CollectionRecord
from services.evaluator.shared_memory import SharedRef


@dataclass(frozen=True, slots=True)
class Compile(Task[None]):
    """Makes a worker process ready to build segments, and to compute with planes."""


@dataclass(frozen=True, slots=True)
class StartScorer(Task[None]):
    """Makes the scoring process ready.

    Attributes:
        threads: number of the kernel's threads.
    """

    threads: int


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The place of a batch's block in shared memory, and its SHA-256."""

    offset: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Build(Task[None]):
    """Adds batches to a segment and writes the sum as a new file.

    Attributes:
        record, key: the collection, and the segment in it.
        source: file of the segment so far; None for a new segment.
        target: the new file.
        sequence: sequence of the last batch.
        blocks, parts: the batches in shared memory, and their places there.
    """

    record: CollectionRecord
    key: SegmentId
    source: Path | None
    target: Path
    sequence: int
    blocks: SharedRef
    parts: tuple[BatchPart, ...]


@dataclass(frozen=True, slots=True)
class OpenSegments(Task[None]):
    """Maps and checks segment files before a search."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetSegments(Task[None]):
    """Unmaps segment files that were deleted."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expand(Task[None]):
    """Checks some queries of a block and arranges them in the kernel's order.

    Attributes:
        record: the collection that is searched.
        block: the block as received, in shared memory.
        first, count: the first query, and the number of queries.
        out: receives uint32 [count, primes * tiles, columns, 2, TILE] for each of the layout's regions, one
            region after the other.
    """

    record: CollectionRecord
    block: SharedRef
    first: int
    count: int
    out: SharedRef


@dataclass(frozen=True, slots=True)
class Score(Task[float]):
    """Scores some segments of one region against some queries; returns the kernel's seconds.

    Attributes:
        record, region: collection and region of the segments.
        paths: paths of the segment files.
        queries: the output of an `Expand`, in shared memory.
        count: number of queries in it.
        out: receives the scores.
        offsets: byte offset in `out` of each [fields, 3, primes, N]: [segment][query].
    """

    record: CollectionRecord
    region: Region
    paths: tuple[str, ...]
    queries: SharedRef
    count: int
    out: SharedRef
    offsets: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Compare(Task[tuple[bytes, float]]):
    """Multiplies one row by one query; returns a block of one product per field, and the kernel's seconds.

    Attributes:
        parameters, key_id: parameter set and key that both blocks must have.
        gallery, query: blocks of equally many ciphertexts, in the wire form.
        fields: for each field of the row, its first ciphertext and the one after its last.
    """

    parameters: ParameterSet
    key_id: bytes
    gallery: bytes
    query: bytes
    fields: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Arrange(Task[None]):
    """Checks the ciphertexts of rows or queries and arranges them in the kernel's order.

    Attributes:
        parameters, key_id: parameter set and key that the block must have.
        block: the block as received, in shared memory.
        queries: whether they are queries, which are prepared differently from rows.
        columns: number of ciphertexts of each row or query.
        count: number of rows or queries.
        out: receives uint32 [count, primes * tiles, columns, 2, TILE].
    """

    parameters: ParameterSet
    key_id: bytes
    block: SharedRef
    queries: bool
    columns: int
    count: int
    out: SharedRef


@dataclass(frozen=True, slots=True)
class Cross(Task[float]):
    """Multiplies some rows by some queries; returns the kernel's seconds.

    Attributes:
        parameters, columns: parameter set, and ciphertexts per row, of both.
        gallery, queries: the output of an `Arrange` for each.
        rows, chosen: the first row and query, and the one after the last.
        out: receives the products.
        offsets: byte offset in `out` of each [3, primes, N]: [row][query].
    """

    parameters: ParameterSet
    columns: int
    gallery: SharedRef
    queries: SharedRef
    rows: tuple[int, int]
    chosen: tuple[int, int]
    out: SharedRef
    offsets: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Combine(Task[bytes]):
    """Computes a weighted sum of some ciphertexts of an additive scheme; returns the numbers of the result.

    Attributes:
        public_key: the key, in the wire form.
        insecure_small_keys: whether a key that anybody can break is accepted.
        result: the header of the whole result.
        weights: one for each slice.
        slices: the same ciphertexts of every block, without its header.
    """

    public_key: bytes
    insecure_small_keys: bool
    result: AdditiveHeader
    weights: tuple[int, ...]
    slices: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AddBatches(Task[bytes]):
    """Adds up the same columns of some batches of one segment; returns the numbers of the sum.

    Attributes:
        public_key: the key, in the wire form.
        blocks: the columns of each batch, in the wire form.
    """

    public_key: bytes
    blocks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class InnerProducts(Task[tuple[bytes, ...]]):
    """Computes inner products of the columns of one field with some queries; returns a number per query.

    Attributes:
        public_key: the key, in the wire form.
        block: the columns, in the wire form.
        queries: the weights of each query, one for each column.
    """

    public_key: bytes
    block: bytes
    queries: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Transform(Task[tuple[bytes, ...]]):
    """Multiplies tiles of encrypted planes by kernels; returns a block for each kernel.

    Attributes:
        parameters, key_id: parameter set and key that the block must have.
        block: the tiles, in the wire form.
        kernels: at least one kernel.
    """

    parameters: ParameterSet
    key_id: bytes
    block: bytes
    kernels: tuple[PlaneKernel, ...]


@dataclass(frozen=True, slots=True)
class Subtract(Task[tuple[bytes, ...]]):
    """Subtracts tiles of encrypted planes from equally many others; returns one block.

    Attributes:
        parameters, key_id: parameter set and key that both blocks must have.
        minuend, subtrahend: the tiles, in the wire form.
    """

    parameters: ParameterSet
    key_id: bytes
    minuend: bytes
    subtrahend: bytes


@dataclass(frozen=True, slots=True)
class CheckNumbers(Task[None]):
    """Checks numbers of Paillier ciphertexts.

    Attributes:
        public_key: the key, in the wire form.
        numbers: the numbers of a row.
    """

    public_key: bytes
    numbers: bytes


@dataclass(frozen=True, slots=True)
class ApplyWindow(Task[bytes]):
    """Applies a kernel to Paillier ciphertexts that are checked already; returns the numbers of the results.

    Attributes:
        public_key: the key, in the wire form.
        header: the header of a row of results.
        rows: as many rows of numbers as the kernel has; each has `kernel.width` - 1 more ciphertexts than
            there are results.
        kernel: the kernel, whose offset is added to every value.
    """

    public_key: bytes
    header: AdditiveHeader
    rows: tuple[bytes, ...]
    kernel: PlaneKernel


# Tasks on planes, which return a block for each result.
PlaneTask = Transform | Subtract

COMPUTE: Compute = compute_table(
    "services.evaluator.computing",
    {
        Compile: "building:compile_all",
        Build: "building:build",
        StartScorer: "scoring:start",
        OpenSegments: "scoring:open_segments",
        ForgetSegments: "scoring:forget_segments",
        Expand: "scoring:expand",
        Score: "scoring:score",
        Compare: "scoring:compare",
        Arrange: "scoring:arrange",
        Cross: "scoring:cross",
        Combine: "additive.sums:combine",
        AddBatches: "additive.inner_products:add_batches",
        InnerProducts: "additive.inner_products:inner_products",
        CheckNumbers: "additive.windows:check_numbers",
        ApplyWindow: "additive.windows:apply_window",
        Transform: "imaging:transform",
        Subtract: "imaging:subtract",
    },
)


def expanded_bytes(record: CollectionRecord, count: int) -> int:
    """Returns the size in bytes of `Expand.out`."""
    return count * sum(record.geometry(region).size_bytes for region in record.layout.regions)
