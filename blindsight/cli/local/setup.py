"""What stands before `blindsight up` starts a service: its folders, the passphrase, the key set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from blindsight.cli import output
from blindsight.cli.local import keys
from blindsight.cli.local.keys import KEY_FILE_NAME
from blindsight.errors import KeyFileError, Unavailable
from blindsight.runtime.folder_lock import LOCK_NAME, locked

GENERATED_NAME = "passphrase"
# What stands in a storage folder before anything was stored.
_STORAGE_HOUSEHOLD = {LOCK_NAME, "log.jsonl", "log.jsonl.1"}


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Where children read the passphrase: a path, and the open file that it may stand for."""

    path: str
    descriptors: tuple[int, ...] = ()


@contextmanager
def folders(data: Path, names: Iterable[str]) -> Iterator[dict[str, Path]]:
    """Folders of these names, mode 0700, for this process alone."""
    root = data.resolve()
    of_services = {name: root / name for name in names}
    with ExitStack() as stack:
        try:
            for folder in (root, *of_services.values()):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(root, f"another `blindsight up` is running on {data}", folder=True))
        except OSError as error:
            raise Unavailable(f"cannot use {data}: {error.strerror}") from None
        yield of_services


@contextmanager
def passphrase(keyholder: Path, given: Path | None) -> Iterator[Passphrase]:
    """From the file given, else one generated before, else a prompt, else one generated now."""
    generated = keyholder / GENERATED_NAME
    key_file = keyholder / KEY_FILE_NAME
    if given is not None or generated.exists():
        path = (given or generated).resolve()
        keys.read_passphrase(path)  # a file that cannot be used is refused before anything starts
        yield Passphrase(str(path))
    elif output.interactive():
        with _in_memory(twice=not key_file.exists()) as typed:
            yield typed
    elif key_file.exists():
        raise KeyFileError(f"{key_file} is sealed: want --passphrase-file FILE, or a terminal to ask on")
    else:
        keys.generate_passphrase(generated)
        output.note(f"generated a passphrase into {generated}; who has it and {key_file} has everything")
        yield Passphrase(str(generated))


@contextmanager
def _in_memory(*, twice: bool) -> Iterator[Passphrase]:
    """An answer typed in, as a file in memory that children inherit: no disk and no argument sees it."""
    if twice:
        output.note("first start: choose the passphrase that seals the key set")
    answer = keys.ask_passphrase(twice=twice)
    descriptor = os.memfd_create("passphrase", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, answer.reveal_secret())
        yield Passphrase(f"/proc/self/fd/{descriptor}", (descriptor,))
    finally:
        os.close(descriptor)


def ensure_keys(keyholder: Path, storage: Path, sealed_by: Passphrase) -> None:
    """Makes the key set at the very first start, before storage has anything.

    Raises:
        KeyFileError: when there is data whose key file is gone: a new key would not open it.
    """
    key_file = keyholder / KEY_FILE_NAME
    if key_file.exists():
        return
    if {path.name for path in storage.iterdir()} - _STORAGE_HOUSEHOLD:
        raise KeyFileError(f"{key_file} is missing, and {storage} holds what it sealed: restore it")
    # In a process of its own: this one lives long and has no business with secret keys.
    command = [sys.executable, "-P", "-m", "blindsight.cli", "keys", "create", "--out", str(key_file)]
    with output.spinner("creating the key set"):
        made = subprocess.run(
            [*command, "--passphrase-file", sealed_by.path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=sealed_by.descriptors,
            check=False,
        )
    if made.returncode != 0:
        last = (made.stderr.strip().splitlines() or ["no reason known"])[-1]
        raise KeyFileError(last.removeprefix("blindsight: error: "))
    output.note(f"created the key set {key_file}")
