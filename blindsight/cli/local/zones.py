"""Which services of a vault run on a machine, and where storage and evaluator serve, or are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from blindsight.errors import InvalidArgument
from blindsight.runtime import addresses

SERVER_PORT = 7421
_LAST_PORT = 65535
_ANY = "127.0.0.1:0"


class Zone(StrEnum):
    """The zones of services."""

    ALL = "all"
    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


ZONES = {"storage": Zone.UNTRUSTED, "evaluator": Zone.UNTRUSTED, "keyholder": Zone.TRUSTED}
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST[:PORT]",
        help=f"With --zone trusted: where storage is (port {SERVER_PORT}); the evaluator has the next port.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Places:
    """The addresses of storage and evaluator."""

    storage: str = _ANY
    evaluator: str = _ANY

    @classmethod
    def at(cls, host: str, port: int) -> Places:
        """Returns those of two ports after one another.

        Raises:
            InvalidArgument: if there are no two.
        """
        if not 1 <= port < _LAST_PORT:
            raise InvalidArgument(
                f"port {port} for storage, want 1 to {_LAST_PORT - 1}: the evaluator's is the next"
            )
        shown = f"[{host}]" if ":" in host else host
        return cls(f"{shown}:{port}", f"{shown}:{port + 1}")


def services_of(zone: Zone) -> list[str]:
    """Returns the names of the services that run where a zone does, in the order in which they start."""
    return [name for name, one in ZONES.items() if zone in (one, Zone.ALL)]


def places(zone: Zone, server: str | None, address: str) -> Places:
    """Returns where storage and evaluator serve; of the trusted zone alone, where they are.

    Args:
        zone: what runs here.
        server: the option.
        address: of the untrusted zone alone, where storage serves.

    Raises:
        InvalidArgument: if the server is missing, too much or no address.
    """
    if zone is Zone.TRUSTED and server is None:
        raise InvalidArgument("--zone trusted, want --server HOST, too: where storage and evaluator are")
    if zone is not Zone.TRUSTED and server is not None:
        raise InvalidArgument(f"--server with --zone {zone}, want --zone trusted for services elsewhere")
    if zone is Zone.UNTRUSTED:
        return Places.at(*addresses.parse(address))
    if server is None:
        return Places()
    has_port = server.rpartition(":")[2].isdecimal() and not server.endswith("]")
    return Places.at(*addresses.parse(server if has_port else f"{server}:{SERVER_PORT}", "--server"))
