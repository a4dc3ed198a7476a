"""`blindsight keys`: creates key files.  No other part of the command handles secrets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import output
from blindsight.cli.options import Json
from blindsight.errors import AlreadyExists, InvalidArgument

if TYPE_CHECKING:
    from blindsight.trusted.secrets import Secret

# The name that the keyholder expects in its data folder.
KEY_FILE_NAME = "keys.bsky"
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar="BLINDSIGHT_PASSPHRASE_FILE",
        metavar="FILE",
        help="Its first line is the passphrase.",
        show_default=False,
    ),
]

app = typer.Typer(help="Create the owner's key set.")


@app.callback()
def keys() -> None:
    """Keeps `create` a subcommand although it is the only one."""


Out = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", help="The key file, or a folder for it.")
]


@app.command("create")
def create(
    out: Out,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Make a key set and seal it into a new file by a passphrase.

    The file and the passphrase together open everything; without them the vault cannot be opened.
    """
    # A path without a suffix is a folder, whether it exists or not.
    is_file = out.is_file() or (out.suffix and not out.is_dir())
    path = out if is_file else out / KEY_FILE_NAME
    if path.exists():
        raise AlreadyExists(f"{path} exists; a key file is never overwritten")
    if passphrase_file is not None:
        passphrase = read_passphrase(passphrase_file)
    elif output.interactive():
        passphrase = ask_passphrase(twice=True)
    else:
        raise InvalidArgument("no passphrase: want --passphrase-file FILE, or a terminal to ask on")
    with output.spinner("creating the key set"):
        made = create_key_file(path, passphrase)
    if as_json:
        output.document({"file": str(path), **asdict(made)})
    else:
        output.answer(f"{path}: key {made.key_id}")


def read_passphrase(path: Path) -> Secret:
    """Reads a passphrase: the first line of a file."""
    from blindsight.trusted.keyring import passphrase

    return passphrase.from_file(path)


def ask_passphrase(*, twice: bool) -> Secret:
    """Asks for a passphrase on the terminal; for a new one twice."""
    from blindsight.trusted.keyring import passphrase

    return passphrase.from_prompt(twice=twice)


def generate_passphrase(path: Path) -> Secret:
    """Generates a passphrase into a new file with mode 0600."""
    from blindsight.trusted.keyring import passphrase

    return passphrase.generate(path)


@dataclass(frozen=True, slots=True)
class Created:
    """The public facts of a new key set: its id in hex, and the seconds to generate each key."""

    key_id: str
    keygen_seconds: dict[str, float]


def create_key_file(path: Path, passphrase: Secret) -> Created:
    """Creates a key set and seals it into a new file."""
    from blindsight.trusted.keyring import keyfile
    from blindsight.trusted.keyring import keys as key_sets

    seconds: dict[str, float] = {}
    made = key_sets.create(report=seconds.__setitem__)
    keyfile.write(path, made, passphrase)
    return Created(made.key_id.hex(), seconds)
