"""What worker processes are asked to do, as plain data, and which functions do it.

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
class StartBuilder(Task[None]):
    """Makes a worker ready to build, and to compute with planes."""


@dataclass(frozen=True, slots=True)
class StartScorer(Task[None]):
    """Makes the scoring process ready.

    Attributes:
        threads: of the kernel.
    """

    threads: int


@dataclass(frozen=True, slots=True)
class BatchPart:
    """Where a batch's block lies in shared memory, and what it must hash to."""

    offset: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Build(Task[None]):
    """Adds batches to a segment and writes the sum as a new file.

    Attributes:
        record, key: whose segment, and which.
        source: the segment so far, or None.
        target: the new file.
        sequence: of the last batch.
        blocks, parts: the batches, in shared memory.
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
    """Maps and checks segment files ahead of a search."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetSegments(Task[None]):
    """Unmaps segment files that were deleted."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expand(Task[None]):
    """Checks some queries of a block and puts them in the kernel's order.

    Attributes:
        record: the collection they are for.
        block: the block as it came, in shared memory.
        first, count: which queries.
        out: receives, one of the layout's regions after the other,
            uint32 [count, primes * tiles, columns, 2, TILE].
    """

    record: CollectionRecord
    block: SharedRef
    first: int
    count: int
    out: SharedRef


@dataclass(frozen=True, slots=True)
class Score(Task[float]):
    """Scores some segments of one region against some queries; the kernel's seconds.

    Attributes:
        record, region: what the segments belong to.
        paths: of the segment files.
        queries: what an `Expand` made, in shared memory.
        count: queries in it.
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
    """Multiplies one row by one query: a block of a product per field, and the kernel's seconds.

    Attributes:
        parameters, key_id: what both blocks must be of.
        gallery, query: blocks of as many ciphertexts, in the wire form.
        fields: first ciphertext of each field of the row, and the one after the last.
    """

    parameters: ParameterSet
    key_id: bytes
    gallery: bytes
    query: bytes
    fields: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Arrange(Task[None]):
    """Checks the ciphertexts of rows or queries and puts them in the kernel's order.

    Attributes:
        parameters, key_id: what the block must be of.
        block: as it came, in shared memory.
        queries: whether they are queries, which are prepared otherwise than rows.
        columns: ciphertexts of each row or query.
        count: of rows or queries.
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
    """Multiplies some rows by some queries; the kernel's seconds.

    Attributes:
        parameters, columns: of both.
        gallery, queries: what an `Arrange` made of each.
        rows, chosen: first row or query, and the one after the last.
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
    """Adds up some ciphertexts of an additive scheme: the numbers of the result.

    Attributes:
        public_key: in the wire form.
        insecure_small_keys: whether a key that anybody can break is taken.
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
    """Adds up batches of the same columns of one segment: the numbers of the sum.

    Attributes:
        public_key: in the wire form.
        blocks: of each batch, in the wire form.
    """

    public_key: bytes
    blocks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class InnerProducts(Task[tuple[bytes, ...]]):
    """Multiplies columns of one field by the weights of some queries, and adds up: a number per query.

    Attributes:
        public_key: in the wire form.
        block: the columns, in the wire form.
        queries: weights, one a column, of each query.
    """

    public_key: bytes
    block: bytes
    queries: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Transform(Task[tuple[bytes, ...]]):
    """Multiplies tiles of encrypted planes by kernels: a block for each kernel.

    Attributes:
        parameters, key_id: what the block must be of.
        block: the tiles, in the wire form.
        kernels: at least one.
    """

    parameters: ParameterSet
    key_id: bytes
    block: bytes
    kernels: tuple[PlaneKernel, ...]


@dataclass(frozen=True, slots=True)
class Subtract(Task[tuple[bytes, ...]]):
    """Subtracts tiles of encrypted planes from as many others: one block.

    Attributes:
        parameters, key_id: what both blocks must be of.
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
        public_key: in the wire form.
        numbers: of a row.
    """

    public_key: bytes
    numbers: bytes


@dataclass(frozen=True, slots=True)
class ApplyWindow(Task[bytes]):
    """Applies a kernel to neighbouring Paillier ciphertexts, which are checked: the numbers of the results.

    Attributes:
        public_key: in the wire form.
        header: of a row of results.
        rows: as many as the kernel has; numbers of `kernel.width` - 1 more ciphertexts than of results.
        kernel: its offset is added to every value.
    """

    public_key: bytes
    header: AdditiveHeader
    rows: tuple[bytes, ...]
    kernel: PlaneKernel


# What computes with planes: a block for each result.
PlaneTask = Transform | Subtract

COMPUTE: Compute = compute_table(
    "services.evaluator.computing",
    {
        StartBuilder: "building:start",
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
    """Bytes of `Expand.out`."""
    return count * sum(record.geometry(region).size_bytes for region in record.layout.regions)
