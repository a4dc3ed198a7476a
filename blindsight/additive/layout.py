"""The layout of integers in the messages of an additive scheme: slots side by side, each with guard bits.

A message of k slots of w bits is the integer  sum over i of  v_i * 2^(w i), with signed v_i.  Sums,
differences and products by integers act on all slots at once, as long as every slot stays below
2^(w-1) in magnitude:

    |v| < 2^value_bits            an input value
    |result| < 2^(value_bits + guard_bits)   when the absolute weights sum to at most 2^guard_bits
    w = value_bits + guard_bits + 1          the sign
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument, InvalidCiphertext

Integers = npt.NDArray[np.int64]

# Results must fit int64.
MOST_RESULT_BITS = 62
MOST_ROWS = 1 << 20
MOST_COLUMNS = 1 << 28
MOST_PER_CIPHERTEXT = 1 << 13
_CHUNK_SLOTS = 1 << 16
_TOO_WIDE = "a decrypted message does not fit its slots: damaged, or another key's"


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of values, each row packed separately: the planes of an image, or the dimensions of a gallery.

    Attributes:
        rows, columns: shape of the values.
        per_ciphertext: number of slots of one message.
        value_bits: values are less than 2^value_bits in magnitude.
        guard_bits: absolute weights may sum to 2^guard_bits.
        scale_bits: the integers are in units of 2^-scale_bits; 0 for plain integers.

    Raises:
        InvalidArgument: if a field is out of range.
    """

    rows: int
    columns: int
    per_ciphertext: int
    value_bits: int
    guard_bits: int
    scale_bits: int = 0

    def __post_init__(self) -> None:
        _within("rows", self.rows, 1, MOST_ROWS)
        _within("columns", self.columns, 1, MOST_COLUMNS)
        _within("values per ciphertext", self.per_ciphertext, 1, MOST_PER_CIPHERTEXT)
        _within("value bits", self.value_bits, 1, MOST_RESULT_BITS)
        _within("guard bits", self.guard_bits, 0, MOST_RESULT_BITS - self.value_bits)
        _within("scale bits", self.scale_bits, 0, MOST_RESULT_BITS)

    @property
    def slot_bits(self) -> int:
        """The bits w of a slot, including the sign."""
        return self.value_bits + self.guard_bits + 1

    @property
    def per_row(self) -> int:
        """The number of messages of one row."""
        return -(-self.columns // self.per_ciphertext)

    @property
    def count(self) -> int:
        """The number of messages of all rows."""
        return self.rows * self.per_row

    @property
    def most_growth(self) -> int:
        """The largest sum of absolute weights."""
        return 1 << self.guard_bits

    def filled(self, value: int) -> int:
        """Returns the message with this value in every slot."""
        return value * (((1 << self.slot_bits * self.per_ciphertext) - 1) // ((1 << self.slot_bits) - 1))

    @property
    def _bias(self) -> int:
        """The message with half of a slot's range in every slot, which makes all digits positive."""
        return self.filled(1 << (self.slot_bits - 1))

    def check(self, values: Integers) -> None:
        """Checks the type, shape and magnitudes of values.

        Raises:
            InvalidArgument: if they do not fit the slots; the message names the bound.
        """
        if values.dtype.kind not in "iu":
            raise InvalidArgument(f"values of type {values.dtype}, want integers; see to_fixed_point")
        if values.shape != (self.rows, self.columns):
            raise InvalidArgument(f"values of shape {values.shape}, want ({self.rows}, {self.columns})")
        bound = 1 << self.value_bits
        if int(values.max()) >= bound or int(values.min()) <= -bound:
            raise InvalidArgument(
                f"values would overflow: want less than {bound} in magnitude ({self.value_bits} value bits)"
            )

    def pack(self, values: Integers) -> list[int]:
        """Packs values [rows, columns] into messages, which may be negative.

        Raises:
            InvalidArgument: if a value is too large.
        """
        self.check(values)
        if self.per_ciphertext == 1:
            return [int(value) for value in values.ravel().tolist()]
        padded = np.zeros((self.rows, self.per_row * self.per_ciphertext), np.int64)
        padded[:, : self.columns] = values
        slots = padded.reshape(self.count, self.per_ciphertext)
        # A negative value would borrow from the slot above.  So half of a slot's range is added to every
        # slot, which makes all digits positive, and subtracted from the message, which then is the sum of
        # v_i 2^(w i).
        bias, step = self._bias, max(1, _CHUNK_SLOTS // self.per_ciphertext)
        shifts = np.arange(self.slot_bits, dtype=np.uint64)
        messages = []
        for start in range(0, self.count, step):
            part = slots[start : start + step]
            digits = (part + (1 << (self.slot_bits - 1))).astype(np.uint64)
            bits = ((digits[..., None] >> shifts) & np.uint64(1)).astype(np.uint8)
            packed = np.packbits(bits.reshape(len(part), -1), axis=1, bitorder="little")
            messages += [int.from_bytes(row.tobytes(), "little") - bias for row in packed]
        return messages

    def unpack(self, messages: Sequence[int]) -> Integers:
        """Unpacks messages into values [rows, columns].

        Raises:
            InvalidCiphertext: if a message is wider than its slots.
        """
        if self.per_ciphertext == 1:
            return self._unpack_alone(messages)
        bias, width = self._bias, self.slot_bits * self.per_ciphertext
        powers = np.left_shift(np.uint64(1), np.arange(self.slot_bits, dtype=np.uint64))
        slots = np.empty((self.count, self.per_ciphertext), np.int64)
        for row, message in zip(slots, messages, strict=True):
            shifted = message + bias
            if shifted < 0 or shifted >> width:  # a damaged ciphertext decrypts to any number below n
                raise InvalidCiphertext(_TOO_WIDE)
            raw = np.frombuffer(shifted.to_bytes(-(-width // 8), "little"), np.uint8)
            bits = np.unpackbits(raw, count=width, bitorder="little").reshape(-1, self.slot_bits)
            row[:] = (bits @ powers).astype(np.int64) - (1 << (self.slot_bits - 1))
        return slots.reshape(self.rows, -1)[:, : self.columns]

    def _unpack_alone(self, messages: Sequence[int]) -> Integers:
        half = 1 << (self.slot_bits - 1)
        if min(messages) < -half or max(messages) >= half:
            raise InvalidCiphertext(_TOO_WIDE)
        return np.array(messages, np.int64).reshape(self.rows, self.columns)


def plan(
    shape: tuple[int, int],
    message_bits: int,
    value_bits: int,
    guard_bits: int,
    scale_bits: int = 0,
    *,
    packed: bool = True,
) -> Layout:
    """Returns the layout with as many values per message as it can hold.

    Args:
        message_bits: messages of the scheme are less than 2^message_bits in magnitude.
        packed: whether a message may hold several values.

    Raises:
        InvalidArgument: if not even one value fits; the message names the bound.
    """
    if value_bits + guard_bits > message_bits:
        raise InvalidArgument(
            f"{value_bits} value bits and {guard_bits} guard bits would overflow: "
            f"a message of this key has {message_bits} bits"
        )
    single = Layout(*shape, 1, value_bits, guard_bits, scale_bits)
    most = (message_bits + 1) // single.slot_bits if packed else 1
    per_ciphertext = max(1, min(most, single.columns, MOST_PER_CIPHERTEXT))
    return Layout(*shape, per_ciphertext, value_bits, guard_bits, scale_bits)


def to_fixed_point(values: npt.ArrayLike, scale_bits: int) -> Integers:
    """Rounds real values to integers in units of 2^-scale_bits.

    Raises:
        InvalidArgument: if they are not finite, or would not fit 62 bits.
    """
    scaled = np.asarray(values, np.float64) * math.ldexp(1.0, scale_bits)
    if not np.isfinite(scaled).all() or (np.abs(scaled) >= 2.0**MOST_RESULT_BITS).any():
        raise InvalidArgument(
            f"values would overflow at {scale_bits} scale bits: "
            f"want less than 2^{MOST_RESULT_BITS - scale_bits} in magnitude"
        )
    return np.rint(scaled).astype(np.int64)


def _within(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidArgument(f"{value} {what}, want {least} to {most}")
