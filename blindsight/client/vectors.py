"""Checks of float matrices, and their conversion to blocks of float32 rows for the keyholder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.client.arguments import identifier, several
from blindsight.client.sources import Source
from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.runtime.transfer import CHUNK_BYTES
from blindsight.wire.items import VectorBlock
from blindsight.wire.metadata import Metadata, checked
from blindsight.wire.vectors import Box, PhotoVector, check_vectors

Matrix = npt.NDArray[Any]

# Ids are sent with their rows; those of this many rows stay well below the size of a message.
MAX_BLOCK_ROWS = 4096
# With metadata, which may be as long as 16 KiB each.
MAX_TOLD_ROWS = 128
MAX_ID_BYTES = 512
# Types of arrays by the letters of numpy, where its names say more than anybody wants: `str672`.
_KINDS = {"U": "text", "S": "bytes", "V": "bytes"}


def as_matrix(values: npt.ArrayLike) -> Matrix:
    """Returns vectors as a matrix with one row for each; a memory-mapped matrix stays on the disk.

    Args:
        values: numbers [n, d], or [d] for one vector.

    Raises:
        InvalidVector: if the values are not numbers, or of another shape.
    """
    try:
        matrix = np.asanyarray(values)
    except ValueError:
        raise InvalidVector("rows of different lengths, want a matrix [n, d]") from None
    if matrix.dtype.kind not in "fiu":
        kind = _KINDS.get(matrix.dtype.kind, matrix.dtype.name)
        raise InvalidVector(f"vectors of type {kind}, want floats or integers")
    if matrix.ndim == 1:
        matrix = matrix[np.newaxis]
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InvalidVector(f"vectors of shape {list(np.shape(values))}, want [n, d] or [d] without a zero")
    return matrix


def check(matrix: Matrix, *, dimension: int | None = None, nonzero: bool = False) -> None:
    """Checks every value, before anything is sent.

    Args:
        matrix: [n, d].
        dimension: required d, if it is known.
        nonzero: refuse a row of zeros, which has no direction.

    Raises:
        InvalidVector: if d is not the dimension, or a row is invalid; names the first such row, from 0.
    """
    if dimension is not None and matrix.shape[1] != dimension:
        raise InvalidVector(f"vectors of dimension {matrix.shape[1]}, want {dimension}")
    for start, block in _converted(matrix):
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise InvalidVector(
                f"row {start + int(finite.argmin())} has a NaN or a value that float32 cannot hold"
            )
        if nonzero and not (filled := block.any(axis=1)).all():
            raise InvalidVector(f"row {start + int(filled.argmin())} is zero and has no direction")


def one(what: str, values: npt.ArrayLike) -> Matrix:
    """Returns a single vector, checked: [d].

    Raises:
        InvalidVector: if it is not one; the message begins with `what`.
    """
    try:
        matrix = as_matrix(values)
        check(matrix)
    except InvalidVector as error:
        raise InvalidVector(f"{what}: {error.message}") from None
    if len(matrix) != 1:
        raise InvalidVector(f"{what}: {len(matrix)} rows, want one")
    vector: Matrix = matrix[0]
    return vector


def of_photo(given: Sequence[PhotoVector | npt.ArrayLike]) -> tuple[PhotoVector, ...]:
    """Returns the vectors of a photo, checked.

    Raises:
        InvalidVector: if one is none, its name or its box is wrong, or they are too many.
    """
    found = []
    for index, vector in enumerate(given):
        made: Any = vector if isinstance(vector, PhotoVector) else PhotoVector(np.asanyarray(vector))
        what = f"vector {index} of a photo" if len(given) > 1 else "vector of a photo"
        if not isinstance(made.name, str) or not (made.box is None or isinstance(made.box, Box)):
            raise InvalidVector(f"{what}: want a text as its name, and a Box or None")
        try:
            found.append(replace(made, values=one(what, made.values).astype(np.float32)))
        except TypeError as error:
            raise InvalidVector(f"{what}: {error}") from None
    checked = tuple(found)
    try:
        check_vectors(checked)
    except TypeError:
        raise InvalidVector("a box of a photo: want numbers for left, top, width and height") from None
    return checked


def beside(sources: Iterable[Source], count: int | None, matrix: Matrix) -> Iterator[Source]:
    """Yields photos with a vector each, row i with photo i.

    Args:
        count: number of photos; None: they are still counted, which does not go with vectors.

    Raises:
        InvalidArgument: if there are not as many rows as photos.
    """
    if count is None:
        raise InvalidArgument("vectors with an iterator of photos, want a list: as many photos as rows")
    if count != len(matrix):
        raise InvalidArgument(f"{len(matrix)} rows of vectors for {count} photos, want as many")
    return (replace(source, vectors=(PhotoVector(row),)) for source, row in zip(sources, matrix, strict=True))


def checked_ids(ids: Sequence[str | int], rows: int) -> list[str]:
    """Returns ids as texts, of which there is one for each row, and none twice.

    Raises:
        InvalidArgument: if not, or if an id is empty or too long; names its position, from 0.
    """
    given = several("ids", ids, "a list of texts or whole numbers")
    listed = [identifier(f"id {position}", one) for position, one in enumerate(given)]
    if len(listed) != rows:
        raise InvalidArgument(f"{len(listed)} ids for {rows} rows, want one id for each row")
    seen: dict[str, int] = {}
    for position, name in enumerate(listed):
        if not 0 < (size := len(name.encode())) <= MAX_ID_BYTES:
            raise InvalidArgument(f"id {position} of {size} bytes, want 1 to {MAX_ID_BYTES}")
        if name in seen:
            raise InvalidArgument(f"id {position} is the same as id {seen[name]}: {name!r}")
        seen[name] = position
    return listed


def metadata_of_rows(metadata: Sequence[Mapping[str, Any]], rows: int) -> list[Metadata]:
    """Returns the records of rows' metadata.

    Raises:
        InvalidArgument: if there is not one for each row, or one is invalid; names its position, from 0.
    """
    if len(metadata) != rows:
        raise InvalidArgument(f"metadata of {len(metadata)} rows for {rows}, want one for each row")
    made = []
    for position, values in enumerate(metadata):
        try:
            made.append(Metadata(checked(values)))
        except InvalidArgument as error:
            raise InvalidArgument(f"row {position}: {error.message}") from None
    return made


def blocks(
    matrix: Matrix, ids: Sequence[str] | None = None, metadata: Sequence[Metadata] | None = None
) -> Iterator[VectorBlock]:
    """Yields blocks of rows of a checked matrix with their ids and metadata, as messages take them."""
    most = MAX_BLOCK_ROWS if metadata is None else MAX_TOLD_ROWS
    for start, block in _converted(matrix, most):
        stop = start + len(block)
        said = tuple(metadata[start:stop]) if metadata is not None else ()
        yield VectorBlock(block, tuple(ids[start:stop]) if ids else (), said)


def _converted(matrix: Matrix, most: int = MAX_BLOCK_ROWS) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yields rows in blocks of at most 1 MiB (at least one row)."""
    rows = max(1, min(most, CHUNK_BYTES // (4 * matrix.shape[1])))
    for start in range(0, len(matrix), rows):
        with np.errstate(over="ignore"):  # values too large for float32 become infinite, which `check` finds
            block = np.ascontiguousarray(matrix[start : start + rows], dtype="<f4")
        yield start, block
