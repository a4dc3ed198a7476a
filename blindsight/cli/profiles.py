"""`blindsight login`, `logout` and `profiles`: keyholders that this user uses, and their tokens."""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

import blindsight
from blindsight.cli import files, output, places
from blindsight.cli.options import DEFAULT_ADDRESS, Address, Json
from blindsight.cli.output import Failure, Reason
from blindsight.errors import InvalidArgument
from blindsight.runtime import addresses, profiles
from blindsight.runtime.profiles import PROFILE_VARIABLE, TABLE, Profile

_USUAL = "default"
_MOST_TOKEN_BYTES = 8 << 10

app = typer.Typer(help="Keyholders that you use, by name: list.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Option(
        "--profile", envvar=PROFILE_VARIABLE, metavar="NAME", help="The profile.", show_default=True
    ),
]


def login(
    context: typer.Context,
    profile: Name = _USUAL,
    address: Address = DEFAULT_ADDRESS,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Where the token is now; it is copied.",
            show_default="asked for, or standard input",
        ),
    ] = None,
    tls: Annotated[
        Path | None,
        typer.Option(
            "--tls",
            envvar="BLINDSIGHT_TLS",
            metavar="FOLDER",
            help="The certificate that a keyholder elsewhere wants.",
            show_default="none",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Note a keyholder and your token for it, after trying them.

    The token is asked for, and not shown; from a pipe it is read. It is kept beside the configuration file,
    for you alone to read, as NAME.token. The first profile is the one of commands that name none.
    """
    place = _place()
    name = profiles.check_name(profile)
    before = profiles.known(profiles.settings()).get(name)
    if before is not None and places.distance(context, "address") > 0:
        address, tls = before.address, tls if places.distance(context, "tls") == 0 else before.tls
    if addresses.parse(address).port == 0:
        raise InvalidArgument(f"address {address!r} has port 0, want that of a keyholder")
    folder = tls.absolute() if tls is not None else None
    token = _given(token_file)
    kept = place.absolute().parent / f"{name}.token"
    made = Profile(name, address, kept, folder)
    _make_folder(kept.parent)
    with _candidate(kept, token) as file:
        with output.spinner("connecting to the keyholder"):
            opened = blindsight.connect(address, tls=folder, token_file=file)
        with opened as vault:
            count = len(vault.collections())
        text = _with(profiles.text_of(place), made, place)
        usual = "profile" not in tomllib.loads(text) and "address" not in tomllib.loads(text)
        text = f"profile = {_quoted(name)}\n{text}" if usual else text
        file.replace(kept)
        files.write(place, text.encode())
    if as_json:
        output.document({**_document(made, name if usual else _usual()), "collections": count})
        return
    output.answer(f"Logged in at {address} as profile {name}: {output.count(count, 'collection')}.")
    if _usual() != name:
        output.note(f"commands use it with --profile {name}, or {PROFILE_VARIABLE}={name}")


def logout(profile: Name = _USUAL, as_json: Json = False) -> None:
    """Forget a profile, and remove the token that was noted for it. The token itself goes on holding."""
    place = _place()
    found = profiles.find(profile)
    text = _without(profiles.text_of(place), profile, place)
    files.write(place, text.encode())
    own = place.absolute().parent / f"{profile}.token"
    if found.token_file is not None and found.token_file.absolute() == own:
        with suppress(FileNotFoundError):
            own.unlink()
    if as_json:
        output.document({"logged_out": profile})
    else:
        output.answer(f"Logged out of {found.address}: profile {profile} is gone.")
        output.note("the token holds until it is revoked, or expires")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the profiles of the configuration file; the usual one is of commands that name none."""
    found = profiles.known(profiles.settings())
    usual = _usual()
    if as_json:
        output.document({"profiles": [_document(one, usual) for one in found.values()]})
        return
    table = output.table("name", "address", "token file", "certificate", "usual")
    for one in found.values():
        table.add_row(
            one.name,
            one.address,
            str(one.token_file or ""),
            str(one.tls or ""),
            "yes" if one.name == usual else "",
        )
    output.show(table)


def _document(one: Profile, usual: str | None) -> dict[str, Any]:
    return {
        "profile": one.name,
        "address": one.address,
        "token_file": str(one.token_file) if one.token_file is not None else None,
        "tls": str(one.tls) if one.tls is not None else None,
        "usual": one.name == usual,
    }


def _usual() -> str | None:
    named = profiles.settings().get("profile")
    return named if isinstance(named, str) else None


def _place() -> Path:
    place = profiles.path()
    if place is None:
        raise InvalidArgument("BLINDSIGHT_CONFIG is empty, want a file for profiles, or the variable not set")
    return place


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Failure(f"cannot make {folder}: {error.strerror}", Reason.FILE_ERROR) from None


def _given(file: Path | None) -> str:
    """Returns the token: of a file, typed, or from standard input."""
    if file is not None:
        try:
            with file.open("rb") as opened:
                data = opened.read(_MOST_TOKEN_BYTES + 2)
        except OSError as error:
            raise InvalidArgument(f"cannot read the token file {file}: {error.strerror}") from None
    elif sys.stdin.isatty():
        data = getpass.getpass("Token: ").encode()
    else:
        data = sys.stdin.buffer.readline(_MOST_TOKEN_BYTES + 2)
    text = data.decode("ascii", errors="replace").strip()
    if (
        not text
        or not text.isprintable()
        or not text.isascii()
        or " " in text
        or len(text) > _MOST_TOKEN_BYTES
    ):
        raise InvalidArgument("what came is no token, want one line: bs1_ID_SECRET, or a JWT")
    return text


@contextmanager
def _candidate(kept: Path, token: str) -> Iterator[Path]:
    """Yields a file with a token, which is removed at the end unless it was given another name."""
    file = kept.with_name(f".{kept.name}.{os.getpid()}")
    with files.new_private(file) as opened:
        opened.write(f"{token}\n".encode())
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _quoted(text: str) -> str:
    """Returns a text as TOML has it."""
    return json.dumps(text)


def _with(text: str, profile: Profile, place: Path) -> str:
    """Returns the text of a file with a profile in place of one of the same name; all else stays as it is."""
    values = {"address": profile.address, "token-file": profile.token_file, "tls": profile.tls}
    table = {key: str(value) for key, value in values.items() if value is not None}
    lines = [f"[{TABLE}.{profile.name}]", *(f"{key} = {_quoted(value)}" for key, value in table.items())]
    others = _cut(text, profile.name).rstrip("\n")
    made = "\n".join([*([others, ""] if others else []), *lines, ""])
    wanted = tomllib.loads(text)
    wanted.setdefault(TABLE, {})[profile.name] = table
    return _checked(made, wanted, profile.name, place)


def _without(text: str, name: str, place: Path) -> str:
    """Returns the text of a file without a profile, and without saying that it is the usual one."""
    wanted = tomllib.loads(text)
    del wanted[TABLE][name]
    if not wanted[TABLE]:
        del wanted[TABLE]
    made = _cut(text, name)
    if wanted.get("profile") == name:
        del wanted["profile"]
        made = re.sub(
            rf"""^profile\s*=\s*["']{name}["'][ \t]*(#.*)?\n""", "", made, count=1, flags=re.MULTILINE
        )
    return _checked(made, wanted, name, place)


def _cut(text: str, name: str) -> str:
    """Returns a text without the lines of a profile's table; comments behind it belong to what follows."""
    lines = text.split("\n")
    header = re.compile(rf"""\s*\[\s*{TABLE}\s*\.\s*(["']?){re.escape(name)}\1\s*\]\s*(#.*)?""")
    begin = next((at for at, line in enumerate(lines) if header.fullmatch(line)), None)
    if begin is None:
        return text
    after = (at for at, line in enumerate(lines) if at > begin and line.lstrip().startswith("["))
    end = next(after, len(lines))
    while end > begin + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return "\n".join(lines[:begin] + lines[end:])


def _checked(text: str, wanted: dict[str, Any], name: str, place: Path) -> str:
    """Returns a text if it means what is wanted: a file may be written in other ways than lines tell."""
    try:
        if tomllib.loads(text) == wanted:
            return text
    except tomllib.TOMLDecodeError:
        pass
    raise InvalidArgument(
        f"{place}: want [{TABLE}.{name}] as a table of its own, to be changed by this command"
    )
