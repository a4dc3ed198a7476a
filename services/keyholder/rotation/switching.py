"""The switch: files of the rotation take the places of the old ones in the keyholder's folder, all or none.

Once the mark is there the new keys count: what was cut off after it is brought to its end before anything is
opened.  The key file has its name at every moment, and the old one is overwritten.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from blindsight.trusted.audit.files import FOLDER_NAME as AUDIT_FOLDER_NAME
from blindsight.trusted.audit.files import HEAD_NAME as AUDIT_HEAD_NAME
from blindsight.trusted.identity.files import write_secret
from blindsight.trusted.keyring.erasing import erase, sync_folder
from services.keyholder.alarms.store import FILE_NAME as ALARMS_FILE_NAME
from services.keyholder.catalog.store import FILE_NAME as CATALOG_FILE_NAME
from services.keyholder.galleries.store import FILE_NAME as ANSWER_KEYS_FILE_NAME
from services.keyholder.heads.store import FILE_NAME as HEADS_FILE_NAME
from services.keyholder.settings import JOBS_FILE_NAME, KEY_FILE_NAME
from services.keyholder.tenants.store import FILE_NAME as TENANTS_FILE_NAME
from services.keyholder.tokens.store import FILE_NAME as TOKENS_FILE_NAME

FOLDER_NAME = "rotation"
_MARK = "switched"
_OLD_KEYS = "old.bsky"
_LOGS = ("-wal", "-shm", "-journal")
# The key file comes last.
MOVED = (
    HEADS_FILE_NAME,
    CATALOG_FILE_NAME,
    ANSWER_KEYS_FILE_NAME,
    ALARMS_FILE_NAME,
    TOKENS_FILE_NAME,
    TENANTS_FILE_NAME,
    JOBS_FILE_NAME,
    AUDIT_HEAD_NAME,
)


def folder_of(data: Path) -> Path:
    """Returns where a rotation keeps its files in a keyholder's folder."""
    return data / FOLDER_NAME


def is_begun(data: Path) -> bool:
    """Returns whether a rotation has keys, and has not switched to them."""
    return (folder_of(data) / KEY_FILE_NAME).exists()


def commit(data: Path, old_key_id: bytes) -> None:
    """Has the new keys count from now on; all of their files are closed and on the disk."""
    folder = folder_of(data)
    for path in filter(Path.is_file, folder.rglob("*")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for one in (folder / AUDIT_FOLDER_NAME, folder):  # the mark must not outlive names
        sync_folder(one)
    write_secret(folder / _MARK, old_key_id.hex())
    sync_folder(folder)


def finish(data: Path) -> None:
    """Moves the files of a rotation that has switched; call it before anything in the folder is opened.

    It may be cut off, and goes on where it was.
    """
    folder = folder_of(data)
    if not (folder / _MARK).exists():
        return
    for path in (folder / AUDIT_FOLDER_NAME).glob("*"):  # each has the name of the one that it is made of
        path.replace(data / AUDIT_FOLDER_NAME / path.name)
    for name in MOVED:
        if (folder / name).exists():
            for end in _LOGS:  # of the old database, which the new one must not take for its own
                (data / f"{name}{end}").unlink(missing_ok=True)
            (folder / name).replace(data / name)
    new, old = folder / KEY_FILE_NAME, folder / _OLD_KEYS
    if new.exists():
        if not old.exists():
            os.link(data / KEY_FILE_NAME, old)
        new.replace(data / KEY_FILE_NAME)
    sync_folder(data)
    if old.exists():
        erase(old)
    sync_folder(folder)


def replaced_key_id(data: Path) -> bytes | None:
    """Returns the id of the key set that was replaced while something of it may be left; None: nothing is."""
    mark = folder_of(data) / _MARK
    return bytes.fromhex(mark.read_text(encoding="ascii").strip()) if mark.exists() else None


def empty(folder: Path, but: str = "") -> None:
    """Removes all that is in a rotation's folder, but for one file."""
    shutil.rmtree(folder / AUDIT_FOLDER_NAME, ignore_errors=True)
    for path in folder.iterdir():
        if path.name != but:
            path.unlink()


def clear(data: Path) -> None:
    """Removes what a rotation kept, once nothing is left of the old keys."""
    folder = folder_of(data)
    empty(folder, but=_MARK)
    (folder / _MARK).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        folder.rmdir()
    sync_folder(data)
