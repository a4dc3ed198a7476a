"""The scoring process: mapped galleries, queries, and the kernel's threads.

There is one such process, so that a gallery is in memory once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet
from blindsight.ring import columns
from services.evaluator import tasks
from services.evaluator.computing import checksums
from services.evaluator.computing.checksums import checksum
from services.evaluator.computing.kernel import Kernel
from services.evaluator.segments import map_segment

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
    columns.compile_all()
    checksums.compile_all()
    _process = _Process(task.threads)


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


def check_blocks(task: tasks.CheckBlocks) -> None:
    """Refuses blocks with a residue that is not below its prime.

    Raises:
        InvalidCiphertext: if there is one.
    """
    kernel = _running().kernel

    def check(one: tuple[Residues, ParameterSet, int]) -> None:
        columns.require_below_primes(*one)

    for blocks in task.blocks:
        rows = -(-blocks.geometry.rows // kernel.threads)
        starts = range(0, blocks.geometry.rows, rows)
        parameters, mapped = blocks.geometry.parameters, _mapped(blocks)
        kernel.each(
            check, [(one[start : start + rows], parameters, start) for one in mapped for start in starts]
        )


def multiply(task: tasks.Multiply) -> float:
    """Multiplies rows by queries with the kernel; returns the seconds that it took.

    Raises:
        DataLoss: if a segment's file is missing or damaged.
    """
    process = _running()
    if isinstance(task.rows, tasks.Blocks):
        rows = _mapped(task.rows)
    else:
        rows = [process.galleries.block(path) for path in task.rows]
    queries, parameters = _mapped(task.queries), task.queries.geometry.parameters
    out = np.frombuffer(task.out.map(writable=True), np.uint32)
    offsets = np.array(task.offsets, np.int64) // out.itemsize
    started = time.perf_counter()
    process.kernel.multiply(rows, queries, parameters, task.fields, task.fold, out, offsets)
    return time.perf_counter() - started


def _mapped(blocks: tasks.Blocks) -> list[Residues]:
    """Returns blocks in shared memory, uint32 [primes * tiles, columns, TILE] each."""
    words, shape = np.frombuffer(blocks.memory.map(), "<u4"), blocks.geometry.shape
    starts = (blocks.offset + index * blocks.step for index in range(blocks.count))
    size = blocks.geometry.size_bytes // words.itemsize
    return [words[at : at + size].reshape(shape) for at in (start // words.itemsize for start in starts)]
