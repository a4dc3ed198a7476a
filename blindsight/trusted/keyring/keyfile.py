"""The key file: a key set sealed by a passphrase with scrypt and AES-256-GCM.

    magic "BSKY", u8 version, u32 header length, header (JSON), 12-byte nonce, AES-256-GCM ciphertext

The header holds the key id, the time of creation and scrypt's salt and costs; it is authenticated.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from blindsight.errors import AlreadyExists, InvalidArgument, KeyFileError, WrongPassphrase
from blindsight.trusted.keyring.erasing import erase, overwrite, sync_folder
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.keyring.shield import raise_shield
from blindsight.trusted.secrets import Secret

MAGIC = b"BSKY"
VERSION = 1
NONCE_BYTES = 12
# Of files that have not got their name yet; one that stays is of a process that was killed.
TEMPORARY_PREFIX = ".key-"
# A group may read it, as Kubernetes has it on volumes; others may not.
_MOST_MODE = 0o660
_PREFIX = struct.Struct("<4sBI")
# OWASP Password Storage Cheat Sheet (2024): N=2^17, r=8, p=1; 128 MiB and about a third of a second.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 17, 8, 1
# A hostile header must not exhaust memory: scrypt takes 128 N r bytes, here at most 1 GiB.
_MAX_SCRYPT_COST = 1 << 23
_MAX_FILE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class About:
    """What a key file says without its passphrase; who can write the file can change it.

    Attributes:
        key_id: 16 bytes.
        created_unix_seconds: when the key set was made.
    """

    key_id: bytes
    created_unix_seconds: int


def require_none(path: Path) -> None:
    """Refuses a path for a new key file if there is anything.

    Raises:
        AlreadyExists: if so.
    """
    if os.path.lexists(path):
        raise _exists(path)


def write(path: Path, keys: KeySet, passphrase: Secret) -> None:
    """Seals a key set into a new file of mode 0600; it is on the disk in full when this returns.

    This process is shielded from then on; see `raise_shield`.

    Raises:
        AlreadyExists: if the file exists; a key file is never overwritten.
        KeyFileError: if the folder or file cannot be written.
    """
    raise_shield()
    data = _seal(keys, passphrase)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = _written(path.parent, data)
        try:
            # Unlike a rename, a hard link fails if the name is taken.
            os.link(temporary, path)
        finally:
            temporary.unlink()
        sync_folder(path.parent)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error


def rewrap(path: Path, passphrase: Secret, new: Secret) -> KeySet:
    """Seals the key set of a file anew, by another passphrase, and overwrites what it was sealed to before.

    There is one file or the other at any moment, and the new one was read back before it takes the place of
    the old one.  What has another name of the old file keeps it.

    Returns:
        the key set.

    Raises:
        KeyFileError, WrongPassphrase: see `read`; or if the file cannot be written.
        InvalidArgument: if the new passphrase is the old one.
    """
    path = path.resolve()  # the file itself, where its name is a link
    keys = read(path, passphrase)
    if hmac.compare_digest(passphrase.reveal_secret(), new.reveal_secret()):
        raise InvalidArgument("the new passphrase is the old one, want another")
    data = _seal(keys, new)
    try:
        with path.open("r+b") as old:
            temporary = _written(path.parent, data, os.fstat(old.fileno()))
            try:
                read(temporary, new)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            sync_folder(path.parent)
            overwrite(old)
        for left in path.parent.glob(f"{TEMPORARY_PREFIX}*"):  # by one that was killed
            erase(left)
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error
    return keys


def is_one(path: Path) -> bool:
    """Returns whether a file begins as a key file does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def about(path: Path) -> About:
    """Returns what a key file says of its key set.

    Raises:
        KeyFileError: if it is missing, unreadable, damaged or not a key file.
    """
    data = _data(path)
    try:
        header, _, _ = _parse(path, data)
        return About(bytes.fromhex(header["key_id"]), int(header["created_unix_seconds"]))
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise _damaged(path) from error


def read(path: Path, passphrase: Secret) -> KeySet:
    """Reads a key file and decrypts it; this process is shielded from then on; see `raise_shield`.

    Raises:
        KeyFileError: if it is missing, unreadable, damaged or not a key file.
        WrongPassphrase: if the passphrase is wrong, or the file was tampered with.
    """
    raise_shield()
    data = _data(path)
    try:
        header, associated, body = _parse(path, data)
        salt, costs = bytes.fromhex(header["salt"]), (header["n"], header["r"], header["p"])
        key = _derive(passphrase, salt, *costs)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise _damaged(path) from error
    try:
        plain = AESGCM(key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], associated)
    except InvalidTag:
        # The two cases cannot be distinguished, and should not be.
        raise WrongPassphrase(f"the passphrase does not open {path}, or the file is damaged") from None
    return _key_set(header, json.loads(plain))


def _data(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        raise KeyFileError(
            f"no key file at {path}; make one with `blindsight keys create`, "
            "or let the keyholder, with BLINDSIGHT_KEYHOLDER_CREATE_KEYS=true"
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error


def _exists(path: Path) -> AlreadyExists:
    return AlreadyExists(f"{path} exists; a key file is never overwritten")


def _damaged(path: Path) -> KeyFileError:
    return KeyFileError(f"{path} is damaged or no Blindsight key file")


def _written(folder: Path, data: bytes, like: os.stat_result | None = None) -> Path:
    """Writes a new file into a folder, and returns its name; it is on the disk.

    Args:
        like: of the file whose place it takes, and so whose owner and mode it has; None: it is ours, of 0600.
    """
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=TEMPORARY_PREFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            if like is not None:
                os.fchmod(handle, like.st_mode & _MOST_MODE)
                if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(handle, like.st_uid, like.st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(temporary).unlink()
        raise
    return Path(temporary)


def _seal(keys: KeySet, passphrase: Secret) -> bytes:
    salt, nonce = os.urandom(16), os.urandom(NONCE_BYTES)
    header = json.dumps(
        {
            "kdf": "scrypt",
            "n": SCRYPT_N,
            "r": SCRYPT_R,
            "p": SCRYPT_P,
            "salt": salt.hex(),
            "cipher": "AES-256-GCM",
            "key_id": keys.key_id.hex(),
            "created_unix_seconds": keys.created_unix_seconds,
        }
    ).encode()
    associated = _PREFIX.pack(MAGIC, VERSION, len(header)) + header
    secrets = {name: _encode(secret) for name, secret in keys.secret_keys.items()}
    plain = json.dumps({"master": _encode(keys.master), "secret_keys": secrets}).encode()
    key = _derive(passphrase, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return associated + nonce + AESGCM(key).encrypt(nonce, plain, associated)


def _parse(path: Path, data: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """Returns the header of a key file, what is authenticated of it, and the rest.

    Raises:
        KeyFileError: if it is a file of another kind or version.
    """
    if not data.startswith(MAGIC):
        raise KeyFileError(
            f"{path} is damaged or no Blindsight key file: "
            f"it begins with {data[: len(MAGIC)]!r}, want {MAGIC!r}"
        )
    _, version, length = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise KeyFileError(
            f"{path} is a key file of version {version}, want version {VERSION}: "
            "it was made by another version of Blindsight, or is damaged"
        )
    end = _PREFIX.size + length
    header = json.loads(data[_PREFIX.size : end])
    cost = header["n"] * header["r"]
    if header["kdf"] != "scrypt" or not 1 < cost <= _MAX_SCRYPT_COST or not 1 <= header["p"] <= 16:
        raise ValueError("key derivation")
    return header, data[:end], data[end:]


def _derive(passphrase: Secret, salt: bytes, n: int, r: int, p: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase.reveal_secret())


def _key_set(header: dict[str, Any], secrets: dict[str, Any]) -> KeySet:
    return KeySet(
        key_id=bytes.fromhex(header["key_id"]),
        created_unix_seconds=header["created_unix_seconds"],
        secret_keys={name: _decode(value) for name, value in secrets["secret_keys"].items()},
        master=_decode(secrets["master"]),
    )


def _encode(secret: Secret) -> str:
    return base64.b64encode(secret.reveal_secret()).decode()


def _decode(text: str) -> Secret:
    return Secret(base64.b64decode(text))
