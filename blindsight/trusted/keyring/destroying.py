"""The destruction of a key set: of its file, and of what a keyholder keeps sealed by it beside the file."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from blindsight.errors import KeyFileError
from blindsight.runtime.folder_lock import LOCK_NAME
from blindsight.trusted.keyring import keyfile
from blindsight.trusted.keyring.erasing import erase

# Of a keyholder's folder: databases and their logs, passphrases, tokens, the id of the folder, unnamed files.
_SEALED = (
    "*.db",
    "*.db-*",
    "*.head",
    "*.token",
    "passphrase*",
    "holder",
    "switched",
    f"{keyfile.TEMPORARY_PREFIX}*",
)
# Which identifies a service, and is of no use without the keys.
_CERTIFICATES = "tls"


def destroy(path: Path) -> list[Path]:
    """Overwrites and removes a key file, and then all in the keyholder's folder around it that it opens.

    An interruption leaves what is of no use without the key.

    Returns:
        the files that are gone, the key file first.

    Raises:
        KeyFileError: if one cannot be removed.
    """
    gone = [path]
    try:
        erase(path)
        if (path.parent / LOCK_NAME).exists():
            for one in _sealed(path.parent):
                erase(one)
                gone.append(one)
    except OSError as error:
        raise KeyFileError(f"cannot remove {error.filename}: {error.strerror}") from error
    return gone


def _sealed(folder: Path) -> Iterator[Path]:
    """Yields what is to go of a keyholder's folder: key files under any name, and what they open."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name != _CERTIFICATES:
            yield from _sealed(path)
        elif path.is_file() and (any(fnmatch(path.name, one) for one in _SEALED) or keyfile.is_one(path)):
            yield path
