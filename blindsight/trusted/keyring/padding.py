"""Padding of what is sealed, so that its size tells no more than the order of magnitude and some bits.

    u64 length, the bytes, zeros

Files are padded by Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication
with PURBs", PoPETs 2019): a size keeps as many bits behind its first one as its exponent takes, so that of
sizes up to L some log log L bits are told, and nothing grows by more than 12 %.  Padding lies inside the
authenticated encryption, and what is not padded as it should be was not made here.
"""

from __future__ import annotations

import struct

from blindsight.errors import DataLoss

_LENGTH = struct.Struct("<Q")


def padme(size_bytes: int) -> int:
    """Returns the least size of Padmé that is not below a size: one whose last bits are zeros."""
    exponent = size_bytes.bit_length() - 1
    zeros = (1 << max(exponent - exponent.bit_length(), 0)) - 1
    return (size_bytes + zeros) & ~zeros


def padded_size(size_bytes: int) -> int:
    """Returns the size of so many bytes when they are padded."""
    return padme(_LENGTH.size + size_bytes)


def pad(data: bytes) -> bytes:
    """Pads bytes to a size of Padmé."""
    zeros = padded_size(len(data)) - _LENGTH.size - len(data)
    return b"".join((_LENGTH.pack(len(data)), data, bytes(zeros)))


def unpad(padded: bytes) -> bytes:
    """Returns what `pad` was given.

    Raises:
        DataLoss: if the bytes are not what `pad` returns for any.
    """
    (length,) = _LENGTH.unpack_from(padded) if len(padded) >= _LENGTH.size else (0,)
    end = _LENGTH.size + length
    if len(padded) != padded_size(length) or padded[end:] != bytes(len(padded) - end):
        raise DataLoss(f"sealed bytes are damaged: {len(padded)} that are not padded as a file is")
    return padded[_LENGTH.size : end]
