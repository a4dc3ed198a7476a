"""Comparison of one pair: a row and a query that are in no collection, checked on arrival."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from blindsight.ciphertext.header import BlockHeader, Form, check_expected, check_size, parse_header
from blindsight.errors import InvalidCiphertext
from services.evaluator import tasks

# Limit of the columns of one row: it has one with the widest stride, a few if it has several fields.
MAX_COLUMNS = 16


def pair(gallery: bytes, query: bytes, fields: Sequence[int] = ()) -> tasks.Compare:
    """Checks two blocks and returns the task that multiplies them; the task checks their residues.

    Args:
        fields: number of ciphertexts of each field of the row; empty if all are one field.

    Raises:
        SecretMaterialRefused: if either looks like a key.
        InvalidCiphertext: if a block is invalid, or the two do not fit each other.
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
