"""Passphrases from a file or a prompt, never from an argument or the environment."""

from __future__ import annotations

import getpass
import secrets
from pathlib import Path

from blindsight.errors import KeyFileError
from blindsight.runtime import paths
from blindsight.trusted.keyring.erasing import erase
from blindsight.trusted.secrets import Secret

MIN_CHARACTERS = 8
GENERATED_BYTES = 24
_MOST_BYTES = 1 << 16


def from_file(path: Path) -> Secret:
    """Reads the passphrase from the first line of a file, of a pipe, or of standard input (`-`).

    Raises:
        KeyFileError: if the file cannot be read, or the line is shorter than 8 characters.
    """
    try:
        with paths.opened(path) as file:
            text = file.readline(_MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyFileError(f"cannot read the passphrase file {path}: {reason}") from error
    return _checked(text.rstrip("\r\n"))


def from_prompt(what: str = "Passphrase", *, twice: bool) -> Secret:
    """Asks for the passphrase on the terminal; `twice` for a new one.

    Raises:
        KeyFileError: if the two entries differ, or the passphrase is shorter than 8 characters.
    """
    text = getpass.getpass(f"{what}: ")
    if twice and getpass.getpass("Once more: ") != text:
        raise KeyFileError("the two passphrases differ")
    return _checked(text)


def generate(path: Path) -> Secret:
    """Generates a random passphrase and writes it to a new file of mode 0600.

    Raises:
        FileExistsError: if the file exists.
    """
    text = secrets.token_urlsafe(GENERATED_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text + "\n", encoding="utf-8")
    return Secret(text.encode())


def forget(path: Path, passphrase: Secret) -> bool:
    """Erases a file that holds this passphrase; returns whether there was one.

    Raises:
        KeyFileError: if it cannot be read or removed.
    """
    if not path.exists() or from_file(path).reveal_secret() != passphrase.reveal_secret():
        return False
    try:
        erase(path)
    except OSError as error:
        raise KeyFileError(f"cannot remove {path}: {error.strerror}") from error
    return True


def _checked(text: str) -> Secret:
    if len(text) < MIN_CHARACTERS:
        raise KeyFileError(f"passphrase of {len(text)} characters, want at least {MIN_CHARACTERS}")
    return Secret(text.encode())
