"""The key file: a key set sealed by a passphrase with scrypt and AES-256-GCM.

    magic "BSKY", u8 version, u32 header length, header (JSON), 12-byte nonce, AES-256-GCM ciphertext

The header holds the key id, the time of creation and scrypt's salt and costs; it is authenticated.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from blindsight.errors import AlreadyExists, KeyFileError, WrongPassphrase
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.keyring.shield import raise_shield
from blindsight.trusted.secrets import Secret

MAGIC = b"BSKY"
VERSION = 1
NONCE_BYTES = 12
_PREFIX = struct.Struct("<4sBI")
# OWASP Password Storage Cheat Sheet (2024): N=2^17, r=8, p=1; 128 MiB and about a third of a second.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 17, 8, 1
# A hostile header must not exhaust memory: scrypt takes 128 N r bytes, here at most 1 GiB.
_MAX_SCRYPT_COST = 1 << 23
_MAX_FILE_BYTES = 16 << 20


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
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # Unlike a rename, a hard link fails if the name is taken.
            os.link(temporary, path)
        finally:
            Path(temporary).unlink()
        _sync_folder(path.parent)
    except FileExistsError:
        raise AlreadyExists(f"{path} exists; a key file is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error


def read(path: Path, passphrase: Secret) -> KeySet:
    """Reads a key file and decrypts it; this process is shielded from then on; see `raise_shield`.

    Raises:
        KeyFileError: if it is missing, unreadable, damaged or not a key file.
        WrongPassphrase: if the passphrase is wrong, or the file was tampered with.
    """
    raise_shield()
    try:
        data = path.read_bytes()[:_MAX_FILE_BYTES]
    except FileNotFoundError:
        raise KeyFileError(
            f"no key file at {path}; make one with `blindsight keys create`, "
            "or let the keyholder, with BLINDSIGHT_KEYHOLDER_CREATE_KEYS=true"
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
    try:
        header, associated, body = _parse(data)
        salt, costs = bytes.fromhex(header["salt"]), (header["n"], header["r"], header["p"])
        key = _derive(passphrase, salt, *costs)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise KeyFileError(f"{path} is damaged or no Blindsight key file") from error
    try:
        plain = AESGCM(key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], associated)
    except InvalidTag:
        # The two cases cannot be distinguished, and should not be.
        raise WrongPassphrase(f"the passphrase does not open {path}, or the file is damaged") from None
    return _key_set(header, json.loads(plain))


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


def _parse(data: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    magic, version, length = _PREFIX.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"magic or version {version}")
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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
