"""`blindsight keys rewrap`, `export`, `import` and `destroy`: what becomes of a key file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindsight.cli import options, output
from blindsight.cli.local.keys import KEY_FILE_NAME, PassphraseFile, given_passphrase
from blindsight.cli.local.setup import GENERATED_NAME
from blindsight.cli.options import Json
from blindsight.errors import Conflict, InvalidArgument
from blindsight.runtime.folder_lock import LOCK_NAME, locked

if TYPE_CHECKING:
    from blindsight.trusted.secrets import Secret

# In a keyholder's folder, while keys are rotated.
_ROTATION = "rotation"
_OF_NEW = "--new-passphrase-file"
_COPIES = "backups, exported keys and other copies of the key file still open it, with their passphrases"

KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="The key file, or its folder.", show_default=False),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar=options.DATA,
        help="That of `blindsight up`, instead.",
        show_default=False,
    ),
]
NewPassphraseFile = Annotated[
    Path | None,
    typer.Option(
        _OF_NEW,
        envvar="BLINDSIGHT_NEW_PASSPHRASE_FILE",
        metavar="FILE",
        help="Its first line is the new passphrase.",
        show_default=False,
    ),
]


def rewrap(
    data: Data = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: NewPassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Change the passphrase of a key file, while nothing runs on it.

    The keys stay as they are, and what is stored with them. A copy of the old file still opens with the old
    passphrase: where others may have both, `keys rotate` makes new keys.
    """
    from blindsight.trusted.keyring import keyfile, passphrase

    path = _place(data, key_file)
    with _unused(path, data):
        _require_settled(path)
        old, new = _passphrases(path, passphrase_file, new_passphrase_file)
        with output.spinner("sealing"):
            keys = keyfile.rewrap(path, old, new)
        generated = path.parent / GENERATED_NAME
        removed = passphrase.forget(generated, old)
    if as_json:
        gone = str(generated) if removed else None
        output.document({"file": str(path), "key_id": keys.key_id.hex(), "removed": gone})
        return
    output.answer(f"{path}: key {keys.key_id.hex()} has another passphrase")
    if removed:
        output.note(f"removed {generated}, which opens it no more: start with `up --passphrase-file FILE`")


def export(
    out: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The copy, a new file.")],
    data: Data = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: NewPassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Copy the keys into a new file under another passphrase, for a second keyholder or for safekeeping.

    The copy and its passphrase together open everything that these keys seal. The vault may serve meanwhile.
    """
    from blindsight.trusted.keyring import keyfile

    keyfile.require_none(out)
    path = _place(data, key_file)
    _require_settled(path)
    old, new = _passphrases(path, passphrase_file, new_passphrase_file)
    with output.spinner("sealing"):
        keys = keyfile.read(path, old)
        keyfile.write(out, keys, new)
    _written(out, keys.key_id, as_json=as_json)


def import_(
    copy: Annotated[Path, typer.Argument(metavar="FILE", help="Made by `keys export`.", show_default=False)],
    data: Data = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: NewPassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Copy exported keys into a new key file under a passphrase of its own; no file is overwritten.

    --passphrase-file is that of the copy. What else a second keyholder needs is in docs/keys.md.
    """
    from blindsight.trusted.keyring import keyfile

    path = _place(data, key_file)
    keyfile.require_none(path)
    old, new = _passphrases(copy, passphrase_file, new_passphrase_file)
    with output.spinner("sealing"):
        keys = keyfile.read(copy, old)
        keyfile.write(path, keys, new)
    _written(path, keys.key_id, as_json=as_json)


def destroy(
    data: Data = None,
    key_file: KeyFile = None,
    yes_destroy: Annotated[
        str | None,
        typer.Option(
            "--yes-destroy", metavar="KEYID", help="Do not ask: it is this key.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Destroy the keys: nothing that they seal can ever be read again, on any machine.

    Overwrites and removes the key file and, in the folder of a keyholder, all that it kept sealed with it,
    its passphrase and its tokens. What evaluator, storage and queue keep stays where it is, as noise. Copies
    of the key file elsewhere are not reached: exported keys, backups, snapshots of a disk.
    """
    from blindsight.trusted.keyring import destroying, keyfile

    path = _place(data, key_file)
    with _unused(path, data):
        found = keyfile.about(path)
        key_id = found.key_id.hex()
        _require_meant(path, key_id, datetime.fromtimestamp(found.created_unix_seconds, UTC), yes_destroy)
        with output.spinner("destroying"):
            gone = destroying.destroy(path)
    if as_json:
        output.document({"key_id": key_id, "removed": list(map(str, gone))})
        return
    output.answer(f"Destroyed key {key_id}: {len(gone)} files are gone, {gone[0]} first.")
    output.note(_COPIES)


def _require_meant(path: Path, key_id: str, created: datetime, typed: str | None) -> None:
    """Has the owner say which key is meant.

    Raises:
        Failure: if it is another one, or nobody can be asked.
    """
    told = f"key {key_id} of {output.moment(created)} in {path}"
    if typed is None:
        if not output.interactive():
            lacking = (
                f"{told} is to be destroyed. There is no terminal to ask on, want --yes-destroy {key_id}"
            )
            raise output.Failure(lacking, output.Reason.NOT_CONFIRMED, code=2)
        output.note(f"{told}: nothing that it seals can ever be read again")
        typed = typer.prompt("Type the id of the key to destroy it", err=True)
    if typed.strip().lower() != key_id:
        other = f"{told} was not destroyed: {typed!r:.100} is another id"
        raise output.Failure(other, output.Reason.NOT_CONFIRMED)


def _place(data: Path | None, key_file: Path | None) -> Path:
    """Returns the path of the key file.

    Raises:
        InvalidArgument: if neither is given.
    """
    if key_file is not None:
        return key_file / KEY_FILE_NAME if key_file.is_dir() else key_file
    if data is None:
        raise InvalidArgument("no key file: want --data DIR, as of `blindsight up`, or --key-file FILE")
    return data / "keyholder" / KEY_FILE_NAME


def _require_settled(path: Path) -> None:
    """Refuses a key file whose keys are about to be replaced, by others in a file of the same passphrase.

    Raises:
        Conflict: if they are.
    """
    if (path.parent / _ROTATION / KEY_FILE_NAME).exists():
        raise Conflict(
            f"the keys of {path} are being rotated: start the keyholder, and wait for the end of "
            "`blindsight keys rotate`"
        )


@contextmanager
def _unused(path: Path, data: Path | None) -> Iterator[None]:
    """Keeps services from starting on a key file while the block runs.

    Raises:
        Unavailable: if one runs there.
    """
    stop = "stop it first, with `blindsight down` where `up` runs it"
    with ExitStack() as held:
        if data is not None and path.parent.parent == data and data.is_dir():
            taken = f"`blindsight up` is running on {data}: {stop}"
            held.enter_context(locked(data, taken, folder=True))
        lock = path.resolve().parent / LOCK_NAME
        if lock.exists():
            held.enter_context(locked(lock, f"a keyholder is running on {lock.parent}: {stop}"))
        yield


def _opening(path: Path, passphrase_file: Path | None) -> Secret:
    """Returns the passphrase of a key file: that given, else the one that `up` generated, else one typed."""
    generated = path.parent / GENERATED_NAME
    file = passphrase_file or (generated if generated.exists() else None)
    return given_passphrase(file, "--passphrase-file", "Passphrase", twice=False)


def _passphrases(path: Path, old: Path | None, new: Path | None) -> tuple[Secret, Secret]:
    """Returns the passphrase of a key file, see `_opening`, and the new one.

    Raises:
        InvalidArgument: if both are to be read from standard input.
    """
    if old is not None and str(old) == str(new) == "-":
        raise InvalidArgument(f"--passphrase-file and {_OF_NEW} are both -, want one of them so")
    return _opening(path, old), given_passphrase(new, _OF_NEW, "New passphrase", twice=True)


def _written(path: Path, key_id: bytes, *, as_json: bool) -> None:
    if as_json:
        output.document({"file": str(path), "key_id": key_id.hex()})
    else:
        output.answer(f"{path}: key {key_id.hex()}")
