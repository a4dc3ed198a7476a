"""The file of the user's own defaults, in TOML: `address = "..."`, and tables of commands with their options.

What the command line says comes first, then the environment, then the file, which has profiles, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from blindsight.errors import InvalidArgument
from blindsight.runtime import profiles

if TYPE_CHECKING:
    from typer._click.core import Command, Parameter

# Of every command that has them, outside of tables.
SHARED = ("address", "data", "passphrase-file", "profile", "quiet", "token-file", "verbose")
# Said each time or not at all: what destroys, what agrees to something, and what form an answer has.
NEVER = (
    "acknowledge",
    "help",
    "insecure-small-keys",
    "json",
    "query-visible-to-server",
    "repair",
    "version",
    "yes",
)

Defaults = dict[str, Any]


def read(commands: Callable[[], Command]) -> Defaults:
    """Reads the file as defaults of commands, by the names of their parameters; empty if there is no file.

    Args:
        commands: called for all commands, if there is a file.

    Raises:
        InvalidArgument: if the file cannot be read, is no TOML, or sets what there is not; names it.
    """
    settings = profiles.settings()
    profiles.known(settings)  # raises if one is wrong, whichever is used
    try:
        own = {name: value for name, value in settings.items() if name != profiles.TABLE}
        return _of_group(commands(), own, "") if own else {}
    except _Wrong as error:
        raise InvalidArgument(f"{profiles.path()}: {error}") from None


class _Wrong(Exception):
    """What a file has that it should not."""


def _of_group(group: Command, settings: Mapping[str, Any], words: str) -> Defaults:
    commands: dict[str, Command] = getattr(group, "commands", {})
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    plain = {name: value for name, value in settings.items() if name not in tables}
    if words and plain:
        places = ", ".join(f"[{words}.{name}]" for name in commands)
        raise _Wrong(f"{next(iter(plain))} in [{words}], which is no command: want it in one of {places}")
    for name in plain:
        _check_shared(name)
    found = _shared(group, plain)
    for name, table in tables.items():
        if name not in commands:
            raise _Wrong(f"[{_joined(words, name)}] is no command{_instead(name, commands)}")
        below = commands[name]
        is_group = hasattr(below, "commands")
        made = (_of_group if is_group else _of_command)(below, table, _joined(words, name))
        found[name] = _merged(found.get(name, {}), made)
    return found


def _merged(shared: Defaults, own: Defaults) -> Defaults:
    """Adds a table's values to those for all commands, over which they go."""
    deep = {
        name: _merged(shared[name], value)
        for name, value in own.items()
        if isinstance(value, dict) and isinstance(shared.get(name), dict)
    }
    return {**shared, **own, **deep}


def _shared(group: Command, plain: Mapping[str, Any]) -> Defaults:
    """Returns what stands outside of tables as defaults of every command that has such an option."""
    options = _options(group)
    known = {name: value for name, value in plain.items() if name in options}
    found: Defaults = {
        options[name].name: _fitting(options[name], name, value) for name, value in known.items()
    }
    for name, command in getattr(group, "commands", {}).items():
        if below := _shared(command, plain):
            found[name] = below
    return found


def _check_shared(name: str) -> None:
    if name in NEVER:
        raise _Wrong(f"{name} is said each time, and cannot be set")
    if name not in SHARED:
        raise _Wrong(f"no setting {name!r}{_instead(name, SHARED)}; options of one command go into its table")


def _of_command(command: Command, settings: Mapping[str, Any], words: str) -> Defaults:
    options = _options(command)
    found: Defaults = {}
    for name, value in settings.items():
        if name in NEVER:
            raise _Wrong(f"{name} in [{words}] is said each time, and cannot be set")
        if name not in options:
            raise _Wrong(f"no option {name!r} of [{words}]{_instead(name, options)}")
        found[str(options[name].name)] = _fitting(options[name], f"{name} in [{words}]", value)
    return found


def _fitting(option: Any, what: str, value: Any) -> Any:
    """Returns a value that TOML has as the option wants it: a list, true or false, or one text or number."""
    kinds: tuple[type, ...] = (str, int, float)
    wanted = "one text or number"
    if option.multiple:
        kinds, wanted = (list,), 'a list, as ["..."]'
    elif option.is_flag:
        kinds, wanted = (bool,), "true or false"
    # Python counts truth values among the numbers.
    if not isinstance(value, kinds) or (isinstance(value, bool) and not option.is_flag):
        raise _Wrong(f"{what}: got {value!r:.80}, want {wanted}")
    return value


def _options(command: Command) -> dict[str, Parameter]:
    """Returns the options of a command by their long names, or the short one of an option without."""
    return dict(_named(command))


def _named(command: Command) -> Iterator[tuple[str, Parameter]]:
    for parameter in command.params:
        if parameter.param_type_name == "option":
            names = [name for name in parameter.opts if name.startswith("--")] or parameter.opts
            for name in names:
                yield name.lstrip("-"), parameter


def _joined(words: str, name: str) -> str:
    return f"{words}.{name}" if words else name


def _instead(name: str, names: Any) -> str:
    near = get_close_matches(name, list(names), n=1)
    return f", want {near[0]}" if near else f", want one of {', '.join(sorted(set(names) - set(NEVER)))}"
