"""The files of certificates and tokens: written whole or not at all, private keys for their owner alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from blindsight.errors import CertificateError

_PUBLIC, _PRIVATE = 0o644, 0o600
_FOR_OTHERS = 0o077


def write_certificate(path: Path, certificate: x509.Certificate) -> None:
    """Writes a certificate in PEM, which anybody may read."""
    _write(path, certificate.public_bytes(Encoding.PEM), _PUBLIC)


def write_list(path: Path, lines: Sequence[str]) -> None:
    """Writes lines, which anybody may read."""
    _write(path, "".join(f"{line}\n" for line in lines).encode(), _PUBLIC)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Writes a private key in PEM (PKCS #8, not encrypted) with mode 0600."""
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), _PRIVATE)


def write_secret(path: Path, line: str) -> None:
    """Writes a line with mode 0600."""
    _write(path, f"{line}\n".encode(), _PRIVATE)


def read_certificate(path: Path) -> x509.Certificate:
    """Reads a certificate in PEM.

    Raises:
        CertificateError: if it is missing, or no certificate.
    """
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise CertificateError(f"{path} is no certificate in PEM") from error


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Reads a private key in PEM.

    Raises:
        CertificateError: if it is missing, others than its owner may read it, or it is no such key.
    """
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from error
    if mode & _FOR_OTHERS:
        raise CertificateError(f"{path} has mode {mode:04o}, want 0600: others than its owner may read it")
    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{path} is no private key in PEM without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{path} is a key of {type(key).__name__}, want one of an elliptic curve")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, mode)
                file.write(data)
                file.flush()
                os.fsync(handle)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CertificateError(f"cannot write {path}: {error.strerror}") from error
