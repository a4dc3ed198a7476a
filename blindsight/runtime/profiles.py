"""The user's configuration file, and the profiles in it: keyholders, and what is shown to each."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.errors import InvalidArgument
from blindsight.runtime import addresses
from blindsight.runtime.paths import at_home

CONFIG_VARIABLE, PROFILE_VARIABLE = "BLINDSIGHT_CONFIG", "BLINDSIGHT_PROFILE"
TABLE = "profiles"
_KEYS = ("address", "tls", "token-file")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Profile:
    """A keyholder, and what is shown to it and to nobody else.

    Attributes:
        name: of the profile.
        address: HOST:PORT.
        token_file: a file with a token; None: the one of `up`, where this user runs it at the address.
        tls: folder of a certificate; None: the connection is not encrypted.
    """

    name: str
    address: str
    token_file: Path | None = None
    tls: Path | None = None


def path() -> Path | None:
    """Returns where the file is, or would be; None if the variable BLINDSIGHT_CONFIG is empty."""
    given = os.environ.get(CONFIG_VARIABLE)
    if given is not None:
        return Path(given) if given else None
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "blindsight" / "config.toml"


def text_of(place: Path) -> str:
    """Returns what the file holds; "" if there is none, unless the user says that there is.

    Raises:
        InvalidArgument: if it cannot be read, or is no text.
    """
    try:
        with place.open("rb") as file:
            return file.read(_MOST_BYTES).decode()
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            raise InvalidArgument(f"{CONFIG_VARIABLE}: no such file: {place}") from None
        return ""
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{place} is no TOML: {error}") from None
    except OSError as error:
        raise InvalidArgument(f"cannot read {place}: {error.strerror}") from None


def settings() -> dict[str, Any]:
    """Returns what the file sets; nothing if there is none.

    Raises:
        InvalidArgument: if it cannot be read, or is no TOML; names it.
    """
    place = path()
    if place is None:
        return {}
    try:
        return tomllib.loads(text_of(place))
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"{place} is no TOML: {error}") from None


def known(given: Mapping[str, Any]) -> dict[str, Profile]:
    """Returns the profiles in what a file sets, by name.

    Raises:
        InvalidArgument: if one is not in form; names the file.
    """
    tables = given.get(TABLE, {})
    if not isinstance(tables, dict):
        raise InvalidArgument(f"{path()}: {TABLE} is no table, want [{TABLE}.NAME]")
    return {name: _profile(name, table) for name, table in tables.items()}


def _profile(name: str, table: Any) -> Profile:
    where = f"{path()}: [{TABLE}.{name}]"
    if not isinstance(table, dict):
        raise InvalidArgument(f"{path()}: {name} in [{TABLE}] is no profile, want [{TABLE}.NAME]")
    for key, value in table.items():
        if key not in _KEYS:
            raise InvalidArgument(f"{where} has {key!r}, want some of {', '.join(_KEYS)}")
        if not isinstance(value, str) or not value:
            raise InvalidArgument(f"{where}: {key}: got {value!r:.80}, want one text")
    if "address" not in table:
        raise InvalidArgument(f"{where} has no address, want HOST:PORT")
    addresses.parse(table["address"], f"{where}: address")
    paths = {key: Path(at_home(table[key])) for key in ("token-file", "tls") if key in table}
    return Profile(name, table["address"], paths.get("token-file"), paths.get("tls"))


def find(name: str) -> Profile:
    """Returns a profile.

    Raises:
        InvalidArgument: if there is none of this name; says which there are.
    """
    found = known(settings())
    if name not in found:
        there = (
            f"want one of {', '.join(sorted(found))}"
            if found
            else "and no other: `blindsight login` makes one"
        )
        raise InvalidArgument(f"there is no profile {name!r} in {path() or 'any file'}, {there}")
    return found[name]


def check_name(name: str) -> str:
    """Returns a name that a profile may have.

    Raises:
        InvalidArgument: if it is none.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"profile {name!r:.80}, want at most 64 letters, digits, - and _, of which the first is neither"
        )
    return name
