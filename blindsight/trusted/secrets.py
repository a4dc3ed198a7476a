"""Secret bytes that cannot leak by accident."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Secret bytes, which cannot be printed, pickled, copied or compared.

    `reveal_secret` is the only access, so that a search for that name finds every place that
    reads a secret.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal_secret(self) -> bytes:
        """Returns the bytes.  Do not keep, log or return them."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")

    __eq__ = None  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]
