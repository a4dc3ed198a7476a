"""Options and arguments that several commands share, and the connection to the vault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

import blindsight

if TYPE_CHECKING:
    from blindsight.client import Vault

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="BLINDSIGHT_ADDRESS",
        metavar="HOST:PORT",
        help="Where the keyholder serves.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on standard output.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.", show_default=False)]

DEFAULT_ADDRESS = blindsight.DEFAULT_ADDRESS


@contextmanager
def vault(address: str) -> Iterator[Vault]:
    """Opens a vault while the block runs."""
    with blindsight.connect(address) as opened:
        yield opened
