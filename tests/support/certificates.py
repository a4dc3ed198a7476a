"""Certificates for servers on loopback, and those of a vault."""

from __future__ import annotations

import datetime
import ipaddress
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from blindsight.runtime.roles import Role
from blindsight.trusted.identity import Authority

_DAY_SECONDS = 86_400


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Paths of a certificate for 127.0.0.1 and of its key, PEM; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, private


class Issuer:
    """An authority, and a folder with a certificate for whoever asks, made once.

    Args:
        folder: for all of them.
        vault: the name in their URIs.
    """

    def __init__(self, folder: Path, vault: str = "home") -> None:
        self.folder = folder
        self.authority = Authority.create(folder / "authority", vault)

    def of(self, role: Role) -> Path:
        """A certificate for a day."""
        folder = self.folder / role.value
        if not folder.exists():
            self.authority.issue(role, folder, [], 1)
        return folder

    def expired(self, role: Role) -> Path:
        """One that has expired, at least a second after it was made."""
        folder = self.folder / f"expired-{role.value}"
        if not folder.exists():
            self.brief(role, folder, 0.001)
        return folder

    def brief(self, role: Role, folder: Path, seconds: float) -> float:
        """Issues one that lasts a second or more, as its times are whole; returns its end, since 1970."""
        made = self.authority.issue(role, folder, [], max(seconds, 0.001) / _DAY_SECONDS)
        return made.expires.timestamp()


def wait_for(moment: float) -> None:
    """Sleeps until a moment is over, in seconds since 1970."""
    time.sleep(max(moment + 1.1 - time.time(), 0))
