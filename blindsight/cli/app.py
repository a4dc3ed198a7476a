"""The commands' assembly: runs one, and turns its exception into a line and an exit code."""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.exceptions import TyperException

from blindsight import __version__
from blindsight.cli import (
    audit,
    check,
    collections,
    combine,
    completion,
    configuration,
    examples,
    filtering,
    ingest,
    items,
    jobs,
    keypoints,
    listing,
    matching,
    options,
    output,
    places,
    profiles,
    rotating,
    schema,
    schemes,
    status,
    tenants,
    tokens,
    verify,
)
from blindsight.cli.compare import command as compare
from blindsight.cli.diff import command as diff
from blindsight.cli.local import backup, certificates, key_files, keys, up
from blindsight.cli.search import command as search
from blindsight.errors import BlindsightError, DataLoss, InvalidArgument, MissingPackage
from blindsight.runtime.paths import at_home, tell_of_waiting
from blindsight.runtime.printable import printable
from blindsight.runtime.profiles import find, path

DEBUG_VARIABLE = "BLINDSIGHT_DEBUG"
# As Typer reads the variables of options.
_TRUE, _FALSE = {"1", "true", "t", "yes", "y", "on"}, {"", "0", "false", "f", "no", "n", "off"}
JSON = "--json"
USAGE = 2
# The untrusted side gave something else than it should: no retry helps, somebody must look at it.
WRONG_ANSWER = 3
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE

app = typer.Typer(
    name="blindsight",
    help="An encrypted image vault: machines you do not trust search photos that they never see.",
    epilog=examples.shown(""),
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Prints the version, or the help if there is no command."""
    _set_loudness(quiet=quiet, verbose=verbose)
    if version:
        output.answer(f"blindsight {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        help_text = context.get_help()  # empty if it has printed the help itself
        if help_text:
            output.answer(help_text)


SERVICES, COLLECTIONS, COMPARISONS = "The services", "Photos and vectors", "Which scheme?"
PICTURES, SCRIPTS = "Pictures that stay encrypted", "For scripts and shells"
app.command("up", rich_help_panel=SERVICES)(up.up)
app.command("down", rich_help_panel=SERVICES)(up.down)
app.command("status", rich_help_panel=SERVICES)(status.status)
app.command("check", rich_help_panel=SERVICES)(check.check)
app.command("backup", rich_help_panel=SERVICES)(backup.backup)
app.command("restore", rich_help_panel=SERVICES)(backup.restore)
keys.app.command("rotate")(rotating.rotate)
keys.app.command("rewrap")(key_files.rewrap)
keys.app.command("export")(key_files.export)
keys.app.command("import")(key_files.import_)
keys.app.command("destroy")(key_files.destroy)
app.add_typer(keys.app, name="keys", rich_help_panel=SERVICES)
app.add_typer(certificates.app, name="certificates", rich_help_panel=SERVICES)
app.add_typer(tokens.app, name="tokens", rich_help_panel=SERVICES)
app.add_typer(audit.app, name="audit", rich_help_panel=SERVICES)
app.add_typer(tenants.app, name="tenants", rich_help_panel=SERVICES)
app.command("login", rich_help_panel=SERVICES)(profiles.login)
app.command("logout", rich_help_panel=SERVICES)(profiles.logout)
app.add_typer(profiles.app, name="profiles", rich_help_panel=SERVICES)
app.add_typer(collections.app, name="collection", rich_help_panel=COLLECTIONS)
app.command("ingest", rich_help_panel=COLLECTIONS)(ingest.ingest)
app.add_typer(jobs.app, name="jobs", rich_help_panel=COLLECTIONS)
app.command("search", rich_help_panel=COLLECTIONS)(search.search)
app.command("verify", rich_help_panel=COLLECTIONS)(verify.verify)
app.command("combine", rich_help_panel=COLLECTIONS)(combine.combine)
app.command("filter", rich_help_panel=PICTURES)(filtering.filter_picture)
app.command("diff", rich_help_panel=PICTURES)(diff.diff)
app.command("keypoints", rich_help_panel=PICTURES)(keypoints.keypoints)
app.command("match", rich_help_panel=PICTURES)(matching.match)
app.command("get", rich_help_panel=COLLECTIONS)(items.get)
app.command("delete", rich_help_panel=COLLECTIONS)(items.delete)
app.add_typer(listing.app, name="items", rich_help_panel=COLLECTIONS)
app.command("repack", rich_help_panel=COLLECTIONS)(items.repack)
app.command("schemes", rich_help_panel=COMPARISONS)(schemes.schemes)
app.command("schema", rich_help_panel=SCRIPTS)(schema.schema)
app.command("completion", rich_help_panel=SCRIPTS)(completion.completion)
app.command("compare-schemes", rich_help_panel=COMPARISONS)(compare.compare_schemes)


def _flowing(text: str) -> str:
    """Joins the lines of each paragraph of a docstring: Typer does so for the first paragraph only."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _set_loudness(*, quiet: bool, verbose: bool) -> None:
    """Sets how much is said; of both the second, as one may be the file's and the other typed."""
    if quiet or verbose:
        output.set_loudness(output.Loudness.VERBOSE if verbose else output.Loudness.QUIET)
    place = path()
    if verbose and place is not None and place.exists():
        output.detail(f"defaults of {place}")


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --quiet and --verbose, and --profile and --token-file to what calls the keyholder.

    It replaces the `~` of paths that a shell left, in quotes or after a `=`.
    """

    @wraps(command)
    def called(*, quiet: bool, verbose: bool, **given: Any) -> None:
        _set_loudness(quiet=quiet, verbose=verbose)
        options.set_place(None)
        if calls:
            place = places.chosen(given["context"])
            options.set_place(replace(place, token_file=_path(place.token_file)))
            if place.profile is not None:
                given["address"] = find(place.profile).address
        command(**{name: _path(value) for name, value in given.items() if name not in added})

    hints = get_type_hints(command, include_extras=True)
    own = [one.replace(annotation=hints[one.name]) for one in inspect.signature(command).parameters.values()]
    calls = "address" in hints and "profile" not in hints  # but what makes a profile
    added: dict[str, Any] = {"profile": options.Profile, "token_file": options.TokenFile} if calls else {}
    added |= {"context": typer.Context} if calls else {}
    added |= {"quiet": options.Quiet, "verbose": options.Verbose}
    keyword, defaults = inspect.Parameter.KEYWORD_ONLY, {"quiet": False, "verbose": False}
    more = [
        inspect.Parameter(
            name,
            keyword,
            default=inspect.Parameter.empty if name == "context" else defaults.get(name),
            annotation=kind,
        )
        for name, kind in added.items()
    ]
    # Typer reads a command's options from its signature.
    setattr(called, "__signature__", inspect.Signature([*own, *more]))  # noqa: B010 - mypy knows no such member
    called.__annotations__ = {**hints, **added}
    return called


def _path(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_path, value))
    return Path(at_home(str(value))) if isinstance(value, Path) else value


def _complete(commands: typer.Typer, words: Sequence[str] = ()) -> None:
    """Gives every command of a group what all of them have: flowing help, examples, and paths at home."""
    for command in commands.registered_commands:
        if command.callback is None:
            continue
        name = command.name or command.callback.__name__
        command.help = _flowing(command.callback.__doc__ or "")
        command.epilog = examples.shown(" ".join([*words, name]))
        command.callback = _common(command.callback)
    for group in commands.registered_groups:
        group.epilog = examples.shown(str(group.name))
        if group.typer_instance is not None:
            _complete(group.typer_instance, (*words, str(group.name)))


_complete(app)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; an error is one line on standard error."""
    # One that was started without an open standard output or error has nobody to tell.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    as_json = JSON in arguments
    completion.prepare()
    tell_of_waiting(output.waiting)
    try:
        output.set_loudness(output.Loudness.USUAL)
        _debugging()
        own = _defaults(arguments)
        code = app(arguments, prog_name=completion.PROGRAM, standalone_mode=False, default_map=own)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place to turn a traceback into one line
        return _failed(error, as_json=as_json)
    if code == INTERRUPTED:
        if as_json:
            output.error_document(output.Reason.INTERRUPTED, "interrupted", {})
        else:
            output.note("interrupted")
    return code if isinstance(code, int) else 0


def _defaults(arguments: Sequence[str]) -> configuration.Defaults:
    """Returns the user's own defaults; none for the help, which a wrong file must not keep from them."""
    if completion.VARIABLE in os.environ or {"-h", "--help", "--version"} & set(arguments):
        return {}
    return configuration.read(lambda: typer.main.get_command(app))


def _failed(error: Exception, *, as_json: bool) -> int:
    try:
        debugging = _debugging()
    except InvalidArgument as wrong:
        debugging, error = False, wrong
    if debugging:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, (output.Unread, BrokenPipeError)):
        _forget_answer()
        return BROKEN_PIPE
    told = explained(error)
    if told.message and as_json:
        output.error_document(told.reason, told.message, told.metadata)
    elif told.message:
        output.error(told.message)
    try:
        sys.stdout.flush()
    except OSError:  # a full disk
        _forget_answer()
    return told.code


def _debugging() -> bool:
    """Returns whether the user wants to see where errors arise.

    Raises:
        InvalidArgument: if their variable says neither.
    """
    given = os.environ.get(DEBUG_VARIABLE, "")
    if given.lower() not in _TRUE | _FALSE:
        raise InvalidArgument(f"variable {DEBUG_VARIABLE}: got {given!r:.80}, want true or false")
    return given.lower() in _TRUE


def _forget_answer() -> None:
    """Keeps the interpreter from trying once more, at its exit, to write what cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True, slots=True)
class Explained:
    """What the command says of an error: a stable reason and short strings for programs, and an exit code."""

    reason: str
    message: str
    code: int
    metadata: Mapping[str, str] = field(default_factory=dict)


def explained(error: Exception) -> Explained:
    """Returns what to say of an error; its message is empty if all is said already."""
    if isinstance(error, output.Failure):
        return Explained(error.reason, str(error), error.code, error.metadata)
    if isinstance(error, BlindsightError):
        return Explained(error.reason, error.message, _code(error), error.metadata)
    if isinstance(error, (typer.Abort, EOFError)):
        return Explained(output.Reason.NOT_CONFIRMED, "there was no answer, so nothing was done", 1)
    if isinstance(error, TyperException):
        return Explained(InvalidArgument.reason, _usage(error), error.exit_code)
    if isinstance(error, UnicodeEncodeError):
        told = f"an argument is no UTF-8 text: {printable(str(error.object))}"
        return Explained(InvalidArgument.reason, told, USAGE)
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return Explained(output.Reason.FILE_ERROR, f"{place}{error.strerror}", 1)
    if isinstance(error, ModuleNotFoundError):
        missing = f"this needs the services of a vault on this machine, and {error.name} is not installed"
        told = f"{missing}: pip install 'blindsight-vault[all]'"
        return Explained(MissingPackage.reason, told, USAGE)
    told = f"unexpected {type(error).__name__}: {error} (set {DEBUG_VARIABLE}=1 to see where)"
    return Explained(output.Reason.UNEXPECTED, told, 1)


def _code(error: BlindsightError) -> int:
    if isinstance(error, DataLoss):
        return WRONG_ANSWER
    return USAGE if isinstance(error, InvalidArgument) else 1


def _usage(error: TyperException) -> str:
    message = error.format_message().rstrip(".")
    if not message:
        return ""  # Typer has printed the help instead
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    parameter: Any = getattr(error, "param", None)
    source = context.get_parameter_source(parameter.name) if parameter is not None else None
    # Of Typer's own copy of Click, which has no public name.
    if source is not None and source.name == "ENVIRONMENT":
        return f"variable {parameter.envvar}: {getattr(error, 'message', message)}"
    if source is not None and source.name == "DEFAULT_MAP":
        option = max(parameter.opts, key=len).lstrip("-")
        return f"{path()}: {option}: {getattr(error, 'message', message)}"
    return f"{message}; see `{context.command_path} --help`"
