"""Notes of where the owner's token of a keyholder on this machine is, for commands of the same user.

A note is a file in the user's own folder of state, so nobody else can write one.  Who keeps the keyholder
holds a lock on its note, which ends with the process: a note that nobody holds tells nothing, for anybody may
serve at that port now.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from blindsight.runtime.addresses import is_loopback

# In the keyholder's folder; its owner alone can read it.
OWNER_TOKEN_FILE = "owner.token"  # noqa: S105 - a name
_MOST_BYTES = 4096


@contextmanager
def noted(address: str, token_file: Path) -> Iterator[None]:
    """Notes where the token for a keyholder at HOST:PORT is while the block runs, if that can be noted."""
    note = _note(address)
    try:
        file = _locked(note)
    except OSError:  # a home that cannot be written, or another keyholder at this port of another network
        yield
        return
    with file:
        file.truncate()
        file.write(bytes(token_file.resolve()))
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                note.unlink()


def token_file_of(address: str) -> Path | None:
    """Returns where the owner's token for the keyholder at an address of this machine is; None: not noted."""
    if not is_loopback(address):
        return None
    try:
        with _note(address).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Path(os.fsdecode(file.read(_MOST_BYTES)))
    except OSError:
        pass
    return None


def _locked(note: Path) -> BinaryIO:
    note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        file = os.fdopen(os.open(note, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # who had it before removed it meanwhile


def _note(address: str) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "blindsight" / f"owner-token-{address.rpartition(':')[2]}"
