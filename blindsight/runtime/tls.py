"""Mutual TLS between services: each shows a certificate of the vault's authority, which names its role.

A folder has them: `ca.crt` (the authority's certificate), `tls.crt` and `tls.key`, as in a Secret that
cert-manager fills.  A server knows its caller by the URI in its certificate; a caller asks a server, at
whatever address it is, for the DNS name of its role.  Beside them may be a list of revoked certificates,
`revoked.txt`.  Renewed files are taken without a restart.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from blindsight.errors import CertificateError
from blindsight.runtime.channels import Options
from blindsight.runtime.roles import RENEW_DAYS, Role, role_of

AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE = "ca.crt", "tls.crt", "tls.key"
REVOKED_FILE = "revoked.txt"
_FILES = (AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE)
# A container's group may read its key: that is how a Secret of Kubernetes is given to a process without root.
_FOR_OTHERS = 0o007
# OpenSSL's numbers of what is wrong with a certificate (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_DAY_SECONDS = 86_400

State = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, checked, and the authority that issued it; all in PEM.

    Attributes:
        vault: the vault that it is of.
        role: the role in it.
        expires: its end, in seconds since 1970.
        serial: its number.
        revoked: numbers of certificates that its authority took back.
    """

    authority: bytes
    certificate: bytes
    key: bytes
    vault: str
    role: Role
    expires: float
    serial: int
    revoked: frozenset[int] = field(compare=False)  # whoever is, this identity is the same

    def __repr__(self) -> str:
        return f"Identity({self.vault!r}, {self.role.value!r})"


class Certificates:
    """The certificate of this process, read again whenever its files have changed.

    Args:
        folder: of the three files.
        failed: called with an error if changed files are not right; the ones before then stay in use.

    Raises:
        CertificateError: if a file is missing, others may read the key, it is not the certificate's, or the
            certificate is expired, revoked, of another authority than `ca.crt`, or of no role.
    """

    def __init__(self, folder: Path, failed: Callable[[CertificateError], None] = lambda _: None) -> None:
        self._folder = folder
        self._failed = failed
        self._lock = threading.Lock()  # gRPC asks in threads of its own
        self._state = _state(folder)
        self._current = _read(folder)
        self._require_not_revoked(self._current)

    @property
    def current(self) -> Identity:
        """The newest certificate."""
        with self._lock:
            state = _state(self._folder)
            if state != self._state:
                try:
                    self._current = _read(self._folder)
                    self._state = state
                except CertificateError as error:
                    # The next call tries again: the files of one renewal do not change at one instant.
                    self._failed(error)
            return self._current

    def require_valid(self) -> Identity:
        """Returns the newest certificate.

        Raises:
            CertificateError: if it has expired, or was revoked.
        """
        current = self.current
        self._require_not_revoked(current)
        if current.expires <= time.time():
            raise CertificateError(f"{self._folder / CERTIFICATE_FILE} {_expired(current.expires)}")
        return current

    def _require_not_revoked(self, identity: Identity) -> None:
        if identity.serial in identity.revoked:
            raise CertificateError(f"{self._folder / CERTIFICATE_FILE} is in {self._folder / REVOKED_FILE}")

    def client_context(self) -> ssl.SSLContext:
        """Returns what a client outside gRPC shows the newest certificate with, to those of its authority.

        Raises:
            CertificateError: if it has expired, or was revoked.
            OSError: if its files change at this moment.
        """
        self.require_valid()
        authority, certificate, key = (self._folder / name for name in _FILES)
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key, password="")
        return context

    def server_context(self) -> ssl.SSLContext:
        """Returns what a server outside gRPC shows the newest certificate with; it wants one of each caller.

        Raises:
            OSError: if its files change at this moment.
        """
        authority, certificate, key = (self._folder / name for name in _FILES)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority)
        context.load_cert_chain(certificate, key, password="")
        return context

    def role_of_peer(self, shown: dict[str, Any]) -> Role | None:
        """Returns the role in what `getpeercert` tells of a peer; None if it has none, or was revoked."""
        own = self.current
        uris = [value for kind, value in shown.get("subjectAltName", ()) if kind == "URI"]
        named = role_of(uris[0]) if len(uris) == 1 else None
        if named is None or named[0] != own.vault or int(shown["serialNumber"], 16) in own.revoked:
            return None
        return named[1]

    def server_credentials(self) -> grpc.ServerCredentials:
        """Returns credentials of a server that wants a certificate of every caller."""
        shown = self.current

        def changed() -> Any:
            nonlocal shown
            current = self.current
            if current == shown:
                return None
            shown = current
            return _configuration(current)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(shown), changed, require_client_authentication=True
        )


def is_good(folder: Path, role: Role, authority: Path) -> bool:
    """Returns whether a folder has a certificate of a role that needs no renewal yet.

    Args:
        folder: the folder.
        role: the role.
        authority: certificate of the authority that must have issued it.
    """
    try:
        own = Certificates(folder).current
        known = authority.read_bytes()
    except (CertificateError, OSError):
        return False
    lasting = own.expires - time.time() > RENEW_DAYS * _DAY_SECONDS
    return own.role is role and own.authority == known and lasting


def channel_credentials(identity: Identity) -> grpc.ChannelCredentials:
    """Returns the credentials with which a client shows an identity; see `channel_options` for whom to."""
    return grpc.ssl_channel_credentials(identity.authority, identity.key, identity.certificate)


def channel_options(server: Role) -> Options:
    """Returns options of a channel to a server of this role: no certificate of another one is accepted."""
    return [("grpc.ssl_target_name_override", server.value)]


def _configuration(identity: Identity) -> Any:
    pair = (identity.key, identity.certificate)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=identity.authority)


def _state(folder: Path) -> State:
    """Returns what changes whenever a file does."""
    found = []
    for name in (*_FILES, REVOKED_FILE):
        with suppress(OSError):  # one that is missing, and must not be, is told of when it is read
            of = (folder / name).stat()
            found.append((of.st_mtime_ns, of.st_ino, of.st_size))
    return tuple(found)


def _read(folder: Path) -> Identity:
    authority, certificate, key = (folder / name for name in _FILES)
    try:
        mode = key.stat().st_mode & 0o777
        if mode & _FOR_OTHERS:
            raise CertificateError(f"{key} has mode {mode:04o}, want 0600: anybody may read it")
        pem = (authority.read_bytes(), certificate.read_bytes(), key.read_bytes())
        shown = _verified(folder)
        revoked = _revoked(folder / REVOKED_FILE)
    except OSError as error:
        raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from error
    uris = [value for kind, value in shown.get("subjectAltName", ()) if kind == "URI"]
    named = role_of(uris[0]) if len(uris) == 1 else None
    if named is None:
        raise CertificateError(f"{certificate} names no role, want one URI spiffe://VAULT/ROLE")
    vault, role = named
    expires, serial = ssl.cert_time_to_seconds(shown["notAfter"]), int(shown["serialNumber"], 16)
    return Identity(*pem, vault, role, expires, serial, revoked)


def _revoked(path: Path) -> frozenset[int]:
    """Returns the numbers in a list of revoked certificates: one a line, in hex; none if there is no list."""
    try:
        lines = path.read_text().splitlines()
        return frozenset(int(line, 16) for line in lines if line and not line.startswith("#"))
    except FileNotFoundError:
        return frozenset()
    except ValueError:
        raise CertificateError(f"{path} is no list of serial numbers in hex, one a line") from None


def serial_of(certificate: str) -> int:
    """Returns the number of a certificate in PEM that OpenSSL has accepted.

    Its DER begins with the headers of two sequences, the version, and the number (RFC 5280, 4.1).
    """
    der = ssl.PEM_cert_to_DER_cert(certificate)
    to_be_signed, _ = _content(der, 0)
    version, _ = _content(der, to_be_signed)
    _, after = _content(der, version)
    begin, end = _content(der, after)
    return int.from_bytes(der[begin:end], "big")


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Returns where the content of the value at an offset begins and ends."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin], "big")
    return begin, begin + length


def _verified(folder: Path) -> dict[str, Any]:
    """Returns what the certificate says, after a handshake in memory in which it is shown to its authority.

    So OpenSSL checks all that a server would: the key, the signature, the time and the usage.

    Raises:
        CertificateError: if it is refused.
    """
    authority, certificate, key = (folder / name for name in _FILES)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    try:
        server.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise CertificateError(f"{authority} is no certificate in PEM") from error
    for context in (server, client):
        try:
            # An empty passphrase: else OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            raise CertificateError(f"{key} is not the key of {CERTIFICATE_FILE}, or not in PEM") from error
    try:
        return _handshake(server, client)
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(f"{certificate} {_refused(error, certificate)}") from error
    except ssl.SSLError as error:
        raise CertificateError(f"{certificate} cannot be used for TLS: {error.reason}") from error


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(back, there)
    called = server.wrap_bio(there, back, server_side=True)
    for end in (caller, called, caller, called):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return called.getpeercert() or {}


def _refused(error: ssl.SSLCertVerificationError, certificate: Path) -> str:
    if error.verify_code == _EXPIRED:
        return "has expired; `blindsight certificates renew` makes a new one"
    if error.verify_code == _NOT_YET_VALID:
        return "is not valid yet: is the clock right?"
    if error.verify_message.startswith("unable to get"):
        return f"is of another authority than {certificate.with_name(AUTHORITY_FILE)}"
    return f"is refused: {error.verify_message}"


def _expired(seconds: float) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    return f"expired {moment}; `blindsight certificates renew` makes a new one"
