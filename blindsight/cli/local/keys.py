"""`blindsight keys create`, and passphrases.  Only this and `key_files` handle secrets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import output
from blindsight.cli.options import Json
from blindsight.errors import AlreadyExists, InvalidArgument

if TYPE_CHECKING:
    from blindsight.trusted.keyring.keys import KeySet
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

app = typer.Typer(help="The owner's key set: create it, change its passphrase, copy it, destroy it.")

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
    passphrase = given_passphrase(passphrase_file, "--passphrase-file", "Passphrase", twice=True)
    with output.spinner("creating the key set"):
        made = create_key_file(path, passphrase)
    if as_json:
        output.document({"file": str(path), **asdict(made)})
    else:
        output.answer(f"{path}: key {made.key_id}")


def given_passphrase(file: Path | None, option: str, what: str, *, twice: bool) -> Secret:
    """Reads a passphrase from the file that an option names, or asks for it.

    Raises:
        InvalidArgument: if there is neither a file nor a terminal to ask on.
    """
    if file is not None:
        return read_passphrase(file)
    if not output.interactive():
        raise InvalidArgument(f"no {what.lower()}: want {option} FILE, or a terminal to ask on")
    return ask_passphrase(what, twice=twice)


def read_passphrase(path: Path) -> Secret:
    """Reads a passphrase: the first line of a file."""
    from blindsight.trusted.keyring import passphrase

    return passphrase.from_file(path)


def open_key_set(path: Path, passphrase: Secret) -> KeySet:
    """Opens a key file."""
    from blindsight.trusted.keyring import keyfile

    return keyfile.read(path, passphrase)


def ask_passphrase(what: str = "Passphrase", *, twice: bool) -> Secret:
    """Asks for a passphrase on the terminal; for a new one twice."""
    from blindsight.trusted.keyring import passphrase

    return passphrase.from_prompt(what, twice=twice)


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
