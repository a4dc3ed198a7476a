"""Reads an issuer's document of keys: a file, or what an https address answers."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from blindsight.errors import InvalidArgument

_MOST_BYTES = 256 << 10
_SILENCE_SECONDS, _WHOLE_SECONDS = 4.0, 8.0
_PART_BYTES = 16 << 10


def reader(place: str, authority: Path | None) -> Callable[[], bytes]:
    """Returns what reads the document; it raises OSError or ValueError.

    Args:
        place: path of a file, or an https address.
        authority: certificates of who vouches for the address, in PEM; None: those of this machine.

    Raises:
        InvalidArgument: if it is another address, or the certificates or the file cannot be read.
    """
    if place.startswith("https://"):
        opener = _opener(authority)
        return lambda: _fetched(opener, place)
    if "://" in place:
        raise InvalidArgument(
            f"keys of an issuer at {place!r:.200}, want a file, or an address with https://"
        )
    path = Path(place)
    if authority is not None:
        raise InvalidArgument("an authority for keys of an issuer in a file, want none: nobody is asked")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InvalidArgument(f"cannot read the keys of the issuer, {path}: {error.strerror}") from None
    return lambda: _file(path)


def _opener(authority: Path | None) -> OpenerDirector:
    try:
        context = ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"cannot read certificates of {authority}: {error.strerror or error}") from None
    return build_opener(HTTPSHandler(context=context), _Stays)


class _Stays(HTTPRedirectHandler):
    """Follows no redirection, which could lead anywhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _limited(file.read(_MOST_BYTES + 1))


def _fetched(opener: OpenerDirector, address: str) -> bytes:
    deadline = time.monotonic() + _WHOLE_SECONDS
    request = Request(address, headers={"Accept": "application/json"})  # noqa: S310 - https alone
    with opener.open(request, timeout=_SILENCE_SECONDS) as answer:
        data = b""
        while part := answer.read1(_PART_BYTES):
            data = _limited(data + part)
            if time.monotonic() > deadline:
                raise TimeoutError("the keys of the issuer come too slowly")
    return data


def _limited(data: bytes) -> bytes:
    if len(data) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES} bytes, want a JWKS")
    return data
