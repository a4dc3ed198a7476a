"""`blindsight completion`: scripts by which shells complete commands, options and names of collections."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import output, places

if TYPE_CHECKING:
    from blindsight.client import CollectionInfo

PROGRAM = "blindsight"
# Set by the scripts, which run the command itself to learn what may come next.
VARIABLE = f"_{PROGRAM.upper()}_COMPLETE"
# Of a question for names: a key was pressed.
_PATIENCE_SECONDS = 1.0
# Shells evaluate what they are offered.
_HARMLESS = re.compile(r"[\w][\w.-]*")


class Shell(StrEnum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


ShellName = Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)]


def completion(shell: ShellName) -> None:
    """Print a script that lets a shell complete commands, options and names of collections by the tab key.

    bash, in ~/.bashrc: eval "$(blindsight completion bash)"

    zsh, in ~/.zshrc after compinit: eval "$(blindsight completion zsh)"

    fish: blindsight completion fish > ~/.config/fish/completions/blindsight.fish
    """
    # What Typer's own options would call; it has no public name.
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script = get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell.value)
    for line in script.splitlines():
        output.answer(line)


def prepare() -> None:
    """Lets Typer answer a script that asks what may come next; it has left that out with its own options."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()


def among(*values: str) -> Callable[[str], list[str]]:
    """Returns what completes one of these words."""
    return lambda incomplete: [one for one in values if one.startswith(incomplete)]


def collections(context: typer.Context, incomplete: str) -> list[str]:
    """Returns names and aliases of collections that begin so; none if no keyholder answers at once."""
    return _called(context, incomplete, lambda one: (one.name, *one.aliases))


def aliases(context: typer.Context, incomplete: str) -> list[str]:
    """Returns aliases of collections that begin so; none if no keyholder answers at once."""
    return _called(context, incomplete, lambda one: one.aliases)


def _called(
    context: typer.Context, incomplete: str, names_of: Callable[[CollectionInfo], Iterable[str]]
) -> list[str]:
    import blindsight
    from blindsight.errors import BlindsightError

    try:
        with blindsight.connect(
            **places.chosen(context).arguments,
            timeout_seconds=_PATIENCE_SECONDS,
            retry_seconds=_PATIENCE_SECONDS,
            wait_seconds=0,
        ) as vault:
            names = [name for one in vault.collections() for name in names_of(one)]
    except BlindsightError:
        return []
    return [name for name in names if name.startswith(incomplete) and _HARMLESS.fullmatch(name)]
