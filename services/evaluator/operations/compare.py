"""One pair: a row and a query that are in no collection, checked at the door."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from blindsight.ciphertext.header import BlockHeader, Form, check_expected, check_size, parse_header
from blindsight.errors import InvalidCiphertext
from services.evaluator import tasks

# Columns of one row: one with the widest stride, a few for rows in parts.
MAX_COLUMNS = 16


def pair(gallery: bytes, query: bytes, fields: Sequence[int] = ()) -> tasks.Compare:
    """The work that two blocks stand for; their residues are checked when it is done.

    Args:
        fields: ciphertexts of each field of the row; none: all are one.

    Raises:
        SecretMaterialRefused: if either looks like a key.
        InvalidCiphertext: if they are no pair, with what was got and what was wanted.
    """
    first, second = _header(gallery, "gallery"), _header(query, "query")
    check_expected(second, first.parameters, first.key_id)
    if second.count != first.count:
        raise InvalidCiphertext(f"query of {second.count} ciphertexts, want {first.count} as in the gallery")
    counts = tuple(fields) or (first.count,)
    if sum(counts) != first.count or not all(counts):
        raise InvalidCiphertext(f"fields of {sum(counts)} ciphertexts, want {first.count} and none empty")
    columns = tuple(pairwise(accumulate(counts, initial=0)))
    return tasks.Compare(first.parameters, first.key_id, gallery, query, columns)


def _header(data: bytes, what: str) -> BlockHeader:
    header = parse_header(data)
    if header.count > MAX_COLUMNS:
        raise InvalidCiphertext(f"{what} of {header.count} ciphertexts, want 1 to {MAX_COLUMNS}")
    if header.form is Form.FULL and header.polynomials != 2:
        raise InvalidCiphertext(f"{what} of {header.polynomials} polynomials, want 2")
    check_size(header, len(data))
    return header
