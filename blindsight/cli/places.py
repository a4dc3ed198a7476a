"""Which keyholder a command talks to: that at an address, or of a profile; what is said nearer counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    import typer

# As Typer's copy of Click names where a value came from; the nearest first.
_SOURCES = ("COMMANDLINE", "PROMPT", "ENVIRONMENT", "DEFAULT_MAP", "DEFAULT")


@dataclass(frozen=True, slots=True)
class Place:
    """A keyholder.

    Attributes:
        address: HOST:PORT; None: the profile has it.
        profile: its name; None: there is none.
        token_file: what was said beside it; None: what belongs to the address, or the profile.
    """

    address: str | None
    profile: str | None
    token_file: Path | None

    @property
    def arguments(self) -> dict[str, Any]:
        """What `blindsight.connect` takes."""
        return {"address": self.address, "profile": self.profile, "token_file": self.token_file}


def chosen(context: typer.Context) -> Place:
    """Returns which keyholder the options of a command mean.

    A profile is taken whole, so that no token of one keyholder is shown to another.

    Raises:
        InvalidArgument: if the command line names two.
    """
    given = context.params
    address, profile, token_file = given.get("address"), given.get("profile"), given.get("token_file")
    if profile is None:
        return Place(address, None, token_file)
    by_address, by_profile = distance(context, "address"), distance(context, "profile")
    if by_address == by_profile == 0:
        raise InvalidArgument("--address and --profile, want one of them: a profile has its address")
    if by_address <= by_profile:
        return Place(address, None, token_file)
    return Place(None, profile, token_file if distance(context, "token_file") == 0 else None)


def distance(context: typer.Context, name: str) -> int:
    """Returns how far away a parameter was set: 0 on the command line, most where nobody set it."""
    source: Any = context.get_parameter_source(name)
    return _SOURCES.index(source.name) if source is not None else len(_SOURCES)
