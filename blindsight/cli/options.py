"""Options and arguments that several commands share, and the connection to the vault."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperArgument, TyperOption

import blindsight
from blindsight.cli import completion, output
from blindsight.cli.places import Place
from blindsight.errors import InvalidArgument
from blindsight.runtime.profiles import PROFILE_VARIABLE

if TYPE_CHECKING:
    from blindsight.client import Vault
    from blindsight.errors import Unavailable

# The method by which Typer 0.29 shows the type of a parameter in the help; later versions may have another.
_DISPLAY_TYPE = "display_type_rich"


def _show_types_plainly(display_type: Callable[[TyperOption, Any], str | None]) -> None:
    """Makes `--help` show `--json` where Typer shows `--json <bool>`, as if a flag took a value.

    The name of an argument says what it is, so nothing stands behind it.  It is Typer's classes that change,
    as Typer makes the option `--help` itself.
    """

    def displayed(option: TyperOption, ctx: Any) -> str | None:
        shown = None if option.is_flag else display_type(option, ctx)
        return shown.removeprefix("<").removesuffix(">") if shown else None

    setattr(TyperOption, _DISPLAY_TYPE, displayed)
    setattr(TyperArgument, _DISPLAY_TYPE, lambda argument, ctx: None)  # noqa: ARG005


if hasattr(TyperOption, _DISPLAY_TYPE):
    _show_types_plainly(getattr(TyperOption, _DISPLAY_TYPE))


_WANTED = {
    "Input should be a valid boolean": "true or false",
    "Input should be a valid integer": "a whole number",
    "Input should be a valid number": "a number",
    "Input should be a valid string, unable to parse raw data": "UTF-8 text",
    "Input is not a valid path": "a path",
}


def _tell_of_values(kind: type[TyperOption | TyperArgument]) -> None:
    """Makes an empty path an error, and has others say what was got and what was wanted.

    A path is empty as of a variable that is not set: pathlib would take this folder.  It is
    Typer's classes that change, as only they see what stood there before it became a path.
    """
    process = kind.process_value

    def processed(parameter: TyperOption | TyperArgument, ctx: Any, value: Any) -> Any:
        try:
            made = process(parameter, ctx, value)
        except typer.BadParameter as error:
            if error.message:  # not of one that is missing
                error.message = f"got {value!r:.80}, want {_wanted(error.message)}"
            raise
        several = isinstance(value, list | tuple)
        for given, one in zip(value, made, strict=False) if several and made else [(value, made)]:
            if given == "" and isinstance(one, Path):
                raise InvalidArgument(f"{_called(parameter)} is empty, want a path")
        return made

    setattr(kind, "process_value", processed)  # noqa: B010 - mypy lets no method be replaced


def _wanted(message: str) -> str:
    """Returns what Typer says that a value should be."""
    wanted = message.rstrip(".").removeprefix("Value error, ")
    for theirs, ours in _WANTED.items():
        if wanted.startswith(theirs):
            return ours
    return re.sub("^Input should be |^.* is not (?=one of )", "", wanted)


def _called(parameter: TyperOption | TyperArgument) -> str:
    if isinstance(parameter, TyperOption):
        return max(parameter.opts, key=len)
    return str(parameter.metavar or parameter.name)


_tell_of_values(TyperOption)
_tell_of_values(TyperArgument)

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="BLINDSIGHT_ADDRESS",
        metavar="HOST:PORT",
        help="Where the keyholder serves.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="BLINDSIGHT_TOKEN_FILE",
        metavar="FILE",
        help="The token by which you use the vault.",
        show_default="the one of `up` on this machine",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        envvar=PROFILE_VARIABLE,
        metavar="NAME",
        help="The keyholder that you noted by this name with `login`.",
        show_default="none",
    ),
]
# The data folder of `up`, also of what stops it and copies it.
DATA = "BLINDSIGHT_DATA"
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", envvar="BLINDSIGHT_QUIET", help="Say nothing but answers and errors."),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", envvar="BLINDSIGHT_VERBOSE", help="Tell of every call."),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on standard output.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The collection.",
        show_default=False,
        autocompletion=completion.collections,
    ),
]

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="EXPR",
        help='Only items that this passes, as: year >= 2020 and place = "Rome"',
        show_default=False,
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal to ask on.")
]

DEFAULT_ADDRESS = blindsight.DEFAULT_ADDRESS
# Who is away is asked again every two seconds at most; after ten it was back meanwhile.
_SILENT_SECONDS, _BACK_SECONDS = 1.0, 10.0


_place: Place | None = None


def set_place(place: Place | None) -> None:
    """Sets the keyholder of the command; None: it has none."""
    global _place  # noqa: PLW0603 - one command runs in a process, and has one
    _place = place


@contextmanager
def vault(address: str) -> Iterator[Vault]:
    """Opens a vault while the block runs."""
    output.detail(f"keyholder {address}")
    with output.spinner("connecting to the keyholder"):
        place = _place or Place(address, None, None)
        opened = blindsight.connect(**place.arguments, away=_Waiting(address))
    with opened:
        yield opened


class _Waiting:
    """Says, when the keyholder has been away for a second, that the command waits for it; once each time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._since = self._last = -math.inf
        self._told = False

    def __call__(self, _: Unavailable) -> None:
        now = time.monotonic()
        if now - self._last > _BACK_SECONDS:
            self._since, self._told = now, False
        self._last = now
        if not self._told and now - self._since >= _SILENT_SECONDS:
            self._told = True
            output.note(f"waiting for the keyholder at {self._address}, which does not answer")
