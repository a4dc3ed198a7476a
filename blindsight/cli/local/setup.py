"""Preparations of `blindsight up` before it starts services: folders, passphrase, key set, certificates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from blindsight.cli import output
from blindsight.cli.local import compiled_code, keys
from blindsight.cli.local.keys import KEY_FILE_NAME
from blindsight.errors import CertificateError, InvalidArgument, KeyFileError, Unavailable
from blindsight.runtime import paths
from blindsight.runtime.folder_lock import LOCK_NAME, locked
from blindsight.runtime.profiles import CONFIG_VARIABLE
from blindsight.runtime.roles import RENEW_DAYS, Role

GENERATED_NAME = "passphrase"
# Folder of the authority, beside those of services; folder of a service's certificate, in its own.
AUTHORITY, TLS = "authority", "tls"
# What a keyholder that has served keeps beside its key file.
_HEADS_FILE_NAME = "heads.db"
# Files in a storage folder to which nothing has been stored yet.
_STORAGE_HOUSEHOLD = {LOCK_NAME, "log.jsonl", "log.jsonl.1", TLS}


@dataclass(frozen=True, slots=True)
class Passphrase:
    """The path from which children read the passphrase, and the open files to inherit for it."""

    path: str
    descriptors: tuple[int, ...] = ()


@contextmanager
def folders(data: Path, names: Iterable[str]) -> Iterator[dict[str, Path]]:
    """Creates folders of these names with mode 0700, and locks the data folder while the block runs."""
    root = data.resolve()
    of_services = {name: root / name for name in names}
    with ExitStack() as stack:
        try:
            for folder in (root, *of_services.values()):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(root, f"another `blindsight up` is running on {data}", folder=True))
        except FileExistsError as error:
            raise InvalidArgument(f"{error.filename} is not a folder, want one for --data") from None
        except OSError as error:
            raise Unavailable(f"cannot use {data}: {error.strerror}") from None
        yield of_services


@contextmanager
def passphrase(keyholder: Path, given: Path | None, *, ask: bool) -> Iterator[Passphrase]:
    """Provides the passphrase: the file given, else one generated before, else a new one.

    One that was chosen on a terminal is asked for there; a first start asks only if it is told to, since what
    else was pasted to the terminal would be taken for the answer.

    Args:
        keyholder: the keyholder's folder.
        given: path of the passphrase file.
        ask: whether a first start asks for one.

    Raises:
        InvalidArgument: if there is no terminal to ask on at the first start.
        KeyFileError: if there is a key file, but neither a passphrase file nor a terminal to ask on.
    """
    generated = keyholder / GENERATED_NAME
    key_file = keyholder / KEY_FILE_NAME
    if given is not None or generated.exists():
        path = given or generated
        secret = keys.read_passphrase(path)  # fail before anything starts if the file cannot be used
        if paths.is_pipe(path):  # which no child can read again
            with _in_memory(secret.reveal_secret()) as inherited:
                yield inherited
        else:
            yield Passphrase(str(path.resolve()))
    elif ask or key_file.exists():
        _require_terminal(key_file)
        asked = keys.ask_passphrase(twice=not key_file.exists())
        with _in_memory(asked.reveal_secret()) as typed:
            yield typed
    else:
        keys.generate_passphrase(generated)
        whoever = f"anyone who has it and {key_file} can read the whole vault"
        output.note(f"generated a passphrase into {generated}; {whoever}")
        yield Passphrase(str(generated))


def _require_terminal(key_file: Path) -> None:
    if output.interactive():
        return
    if key_file.exists():
        raise KeyFileError(f"{key_file} is sealed: want --passphrase-file FILE, or a terminal to ask on")
    raise InvalidArgument("--ask-passphrase, and there is no terminal to ask on: want --passphrase-file FILE")


@contextmanager
def _in_memory(secret: bytes) -> Iterator[Passphrase]:
    """Passes a passphrase on in a memory file that children inherit: never on a disk or in an argument."""
    descriptor = os.memfd_create("passphrase", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, secret)
        yield Passphrase(f"/proc/self/fd/{descriptor}", (descriptor,))
    finally:
        os.close(descriptor)


def ensure_keys(keyholder: Path, storage: Path | None, sealed_by: Passphrase) -> None:
    """Creates the key set at the first start, before storage has any data.

    Args:
        keyholder: the keyholder's folder.
        storage: storage's; None: it is on another machine.
        sealed_by: the passphrase.

    Raises:
        KeyFileError: if the key file is missing, but storage has data, which a new key would not open; or if
            the key set cannot be created.
    """
    key_file = keyholder / KEY_FILE_NAME
    if key_file.exists():
        return
    if storage is None:
        used, where = (keyholder / _HEADS_FILE_NAME).exists(), keyholder
    else:
        used, where = bool({path.name for path in storage.iterdir()} - _STORAGE_HOUSEHOLD), storage
    if used:
        raise KeyFileError(f"{key_file} is missing, and {where} holds what it sealed: restore it")
    # In a separate process: this one lives long, and must not hold secret keys.
    command = [sys.executable, "-P", "-m", "blindsight.cli", "keys", "create", "--output", str(key_file)]
    with output.spinner("creating the key set"):
        made = subprocess.run(
            [*command, "--passphrase-file", sealed_by.path],
            env={**os.environ, **compiled_code.variables(keyholder, os.environ), CONFIG_VARIABLE: ""},
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


class Certificates:
    """The certificates of the services of this machine, and the authority that issues them.

    Args:
        authority: the authority's folder.
        folders: a folder by role.
    """

    def __init__(self, authority: Path, folders: Mapping[Role, Path]) -> None:
        self._authority = authority
        self._folders = folders

    @contextmanager
    def issuing(self) -> Iterator[None]:
        """Issues, while the block runs, those that are missing or end soon.

        Raises:
            CertificateError: if one cannot be issued.
        """
        from blindsight.runtime.tls import AUTHORITY_FILE, is_good

        known = self._authority / AUTHORITY_FILE
        wanted = [
            f"{role.value}={folder}"
            for role, folder in self._folders.items()
            if not is_good(folder, role, known)
        ]
        if not wanted:
            yield
            return
        # In a separate process, as for the key set.
        command = [sys.executable, "-P", "-m", "blindsight.trusted.identity", str(self._authority), *wanted]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as issuing:
            yield
            _, said = issuing.communicate()
        if issuing.returncode != 0:
            raise CertificateError((said.strip().splitlines() or ["no reason known"])[-1])

    def renew(self) -> None:
        """Issues those that are missing or end soon; raises as `issuing`."""
        with self.issuing():
            pass


class Received:
    """Certificates of the services of this machine that were issued on another one, where the authority is.

    Args:
        folders: a folder by role.
    """

    def __init__(self, folders: Mapping[Role, Path]) -> None:
        self._folders = folders

    @contextmanager
    def issuing(self) -> Iterator[None]:
        """Checks that there are certificates, while the block runs; says which of them end soon.

        Raises:
            CertificateError: if one is missing, damaged, expired or of another role.
        """
        from blindsight.runtime.tls import Certificates as Held

        for role, folder in self._folders.items():
            if not folder.exists():
                raise CertificateError(
                    f"{folder} is missing: issue a certificate for {role} where the vault's authority is, "
                    "and copy its folder here"
                )
            if (found := Held(folder).current.role) is not role:
                raise CertificateError(f"{folder} has a certificate for {found}, want one for {role}")
        try:
            self.renew()
        except CertificateError as error:
            output.note(error.message)
        yield

    def renew(self) -> None:
        """Looks whether certificates end soon: only where the authority is can they be renewed.

        Raises:
            CertificateError: if one does.
        """
        from blindsight.runtime.tls import Certificates as Held

        for role, folder in self._folders.items():
            expires = datetime.fromtimestamp(Held(folder).current.expires, UTC)
            if expires - datetime.now(UTC) < timedelta(days=RENEW_DAYS):
                raise CertificateError(
                    f"the certificate for {role} ends on {output.moment(expires)}: renew it where the "
                    f"vault's authority is, and copy it to {folder}"
                )
