"""Secret bytes that cannot leak by accident."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Holds secret bytes; cannot be printed, pickled, copied or compared.

    `reveal_secret` is the only way in, so that a search for that word finds every place which
    reads a secret.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal_secret(self) -> bytes:
        """The bytes.  Do not keep, log or return them."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")

    __eq__ = None  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]
