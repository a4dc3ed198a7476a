"""The scoring process: mapped galleries, queries, and the kernel's threads.

There is one such process, so that a gallery is in memory once.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import (
    CiphertextBlock,
    Residues,
    full_block,
    read_block,
    require_below_primes,
    view_block,
)
from blindsight.parameters import PARAMETER_SETS, ParameterSet
from services.evaluator import tasks
from services.evaluator.computing import tiles
from services.evaluator.computing.kernel import Kernel
from services.evaluator.computing.schemes import Side
from services.evaluator.computing.tiles import add_full, add_seeded, checksum
from services.evaluator.geometry import SCORE_POLYNOMIALS, Geometry
from services.evaluator.segments import map_segment

# Columns of a query that one thread expands at a time, about 1 ms.
_PIECE_COLUMNS = 16
# Gives the scoring process a lower priority than the service.
SCORING_NICENESS = 5


class Galleries:
    """The segments that are mapped into this process; each is checked once, when it is mapped."""

    def __init__(self) -> None:
        self._mapped: dict[str, Residues] = {}

    def block(self, path: str) -> Residues:
        """Returns a segment's block, mapped at the first call; a file never changes under its name.

        Raises:
            DataLoss: if the file is missing or damaged.
        """
        if path not in self._mapped:
            self._mapped[path] = map_segment(Path(path), checksum)[1]
        return self._mapped[path]

    def forget(self, path: str) -> None:
        """Unmaps a file that was deleted."""
        self._mapped.pop(path, None)


class _Process:
    """The state of the scoring process."""

    def __init__(self, threads: int) -> None:
        self.galleries = Galleries()
        self.kernel = Kernel(threads)


_process: _Process | None = None


def _running() -> _Process:
    if _process is None:
        raise RuntimeError("the scoring process was not started")
    return _process


def start(task: tasks.StartScorer) -> None:
    """Makes the process ready: compiles its functions, or loads them from numba's cache."""
    global _process  # noqa: PLW0603 - the state of a process is what a global is for
    # The service must answer health checks and send results while all cores score.
    os.nice(SCORING_NICENESS)
    tiles.compile_all()
    _process = _Process(task.threads)
    for parameters in PARAMETER_SETS.values():
        geometry = Geometry(parameters, 1)
        block = np.zeros(geometry.shape, np.uint32)
        block.flags.writeable = False  # like mapped files: numba compiles separately for read-only arrays
        out = np.empty(geometry.score_words, np.uint32)
        _process.kernel.score([block], block[None], parameters, ((0, 1),), out, np.zeros((1, 1), np.int64))


def open_segments(task: tasks.OpenSegments) -> None:
    """Maps and checks segments before a search.

    Raises:
        DataLoss: if a segment's file is missing or damaged.
    """
    for path in task.paths:
        _running().galleries.block(path)


def forget_segments(task: tasks.ForgetSegments) -> None:
    """Unmaps segments whose files were deleted."""
    for path in task.paths:
        _running().galleries.forget(path)


def expand(task: tasks.Expand) -> None:
    """Checks queries and arranges them in the kernel's order.

    Raises:
        InvalidCiphertext: if a residue is not below its prime, or a seed is of another generator.
    """
    record = task.record
    block = view_block(memoryview(task.block.map()), record.parameters, record.key_id)
    out = np.frombuffer(task.out.map(writable=True), np.uint32)
    parts: list[tuple[Residues, int]] = []
    position = skipped = 0
    for region in record.layout.regions:
        geometry = record.geometry(region)
        for query in range(task.first, task.first + task.count):
            target = out[position : position + geometry.size_bytes // 4].reshape(geometry.shape)
            parts.append((target, query * record.layout.query_ciphertexts + skipped))
            position += target.size
        skipped += geometry.columns
    _running().kernel.each(lambda part: _place(part, block, Side.QUERY), _pieces(parts))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Columns that one thread copies, from `first` on in the block to `column` on in `target`."""

    target: Residues
    column: int
    first: int
    count: int


def _pieces(parts: list[tuple[Residues, int]]) -> list[_Piece]:
    return [
        _Piece(target, column, first + column, min(_PIECE_COLUMNS, target.shape[1] - column))
        for target, first in parts
        for column in range(0, target.shape[1], _PIECE_COLUMNS)
    ]


def _place(piece: _Piece, block: CiphertextBlock, side: Side) -> None:
    parameters = block.header.parameters
    chosen = slice(piece.first, piece.first + piece.count)
    residues = block.residues[chosen]
    require_below_primes(residues, parameters)
    # Zeroed first, since a task that is repeated after its process died finds a partial sum here.
    piece.target[:, piece.column : piece.column + piece.count] = 0
    seeds = None if block.seeds is None else block.seeds[chosen]
    _add(piece.target, residues, seeds, parameters, piece.column, side)


def _add(
    target: Residues,
    residues: Residues,
    seeds: npt.NDArray[np.uint8] | None,
    parameters: ParameterSet,
    column: int,
    side: Side,
) -> None:
    if seeds is None:
        add_full(target, residues, parameters, column, side)
    else:
        add_seeded(target, residues, seeds, parameters, column, side)


def score(task: tasks.Score) -> float:
    """Scores segments against queries with the kernel; returns the seconds that it took.

    Raises:
        DataLoss: if a segment's file is missing or damaged.
    """
    process = _running()
    segments = [process.galleries.block(path) for path in task.paths]
    query = _query(task)
    out = np.frombuffer(task.out.map(writable=True), np.uint32)
    offsets = np.array(task.offsets, np.int64) // out.itemsize
    started = time.perf_counter()
    fields = task.record.layout.of(task.region).field_columns
    process.kernel.score(segments, query, task.record.parameters, fields, out, offsets)
    return time.perf_counter() - started


def _query(task: tasks.Score) -> Residues:
    """Returns the region's part of the expanded queries: uint32 [count, primes * tiles, columns, 2, TILE]."""
    words = np.frombuffer(task.queries.map(), np.uint32)
    shape = task.count, *task.record.geometry(task.region).shape
    before = task.record.layout.regions[: task.record.layout.regions.index(task.region)]
    start = task.count * sum(task.record.geometry(one).size_bytes for one in before) // words.itemsize
    return words[start : start + math.prod(shape)].reshape(shape)


def compare(task: tasks.Compare) -> tuple[bytes, float]:
    """Multiplies a row by a query, with the kernel of every search.

    Returns:
        A block of one ciphertext of three polynomials per field, and the seconds that the kernel took.

    Raises:
        InvalidCiphertext: if a residue is not below its prime, or a seed is of another generator.
    """
    parameters = task.parameters
    segment = _columns(task, task.gallery, Side.GALLERY)
    query = _columns(task, task.query, Side.QUERY)
    out = np.empty(len(task.fields) * Geometry(parameters, segment.shape[1]).score_words, np.uint32)
    started = time.perf_counter()
    _running().kernel.score([segment], query[None], parameters, task.fields, out, np.zeros((1, 1), np.int64))
    seconds = time.perf_counter() - started
    residues = out.reshape(-1, SCORE_POLYNOMIALS, len(parameters.primes), parameters.ring_degree)
    return full_block(parameters, task.key_id, residues).to_bytes(), seconds


def arrange(task: tasks.Arrange) -> None:
    """Checks rows or queries and arranges them in the kernel's order.

    Raises:
        InvalidCiphertext: if a residue is not below its prime, or a seed is of another generator.
    """
    block = view_block(memoryview(task.block.map()), task.parameters, task.key_id)
    out = np.frombuffer(task.out.map(writable=True), np.uint32)
    targets = out.reshape(task.count, *Geometry(task.parameters, task.columns).shape)
    pieces = _pieces([(target, index * task.columns) for index, target in enumerate(targets)])
    side = Side.QUERY if task.queries else Side.GALLERY
    _running().kernel.each(lambda piece: _place(piece, block, side), pieces)


def cross(task: tasks.Cross) -> float:
    """Multiplies every row by every query; returns the seconds that the kernel took."""
    geometry = Geometry(task.parameters, task.columns)
    gallery, queries = (
        np.frombuffer(shared.map(), np.uint32).reshape(-1, *geometry.shape)[slice(*chosen)]
        for shared, chosen in ((task.gallery, task.rows), (task.queries, task.chosen))
    )
    out = np.frombuffer(task.out.map(writable=True), np.uint32)
    offsets = np.array(task.offsets, np.int64) // out.itemsize
    started = time.perf_counter()
    _running().kernel.score(list(gallery), queries, task.parameters, ((0, task.columns),), out, offsets)
    return time.perf_counter() - started


def _columns(task: tasks.Compare, data: bytes, side: Side) -> Residues:
    """Returns a block of ciphertexts in the kernel's order: uint32 [primes * tiles, columns, 2, TILE]."""
    block = read_block(data, task.parameters, task.key_id)
    made = np.zeros(Geometry(task.parameters, block.header.count).shape, np.uint32)
    _add(made, block.residues, block.seeds, task.parameters, 0, side)
    made.flags.writeable = False  # like mapped files: numba compiles separately for read-only arrays
    return made
