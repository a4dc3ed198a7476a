"""The authority of a vault: its own key signs the certificates by which services know each other.

Keys are on the curve P-256.  A certificate names its role twice: as the URI by which a server knows its
caller (`spiffe://VAULT/ROLE`), and as a DNS name, by which a caller knows a server wherever it runs.  So no
certificate may have the name of another role among the hosts that it is also for.
"""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from blindsight.errors import AlreadyExists, CertificateError, InvalidArgument, NotFound
from blindsight.runtime.folder_lock import LOCK_NAME, locked
from blindsight.runtime.roles import Role, spiffe_id
from blindsight.runtime.tls import AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, REVOKED_FILE
from blindsight.trusted.identity import files
from blindsight.trusted.keyring.shield import raise_shield

MOST_DAYS = 825
_AUTHORITY_DAYS = 3650
AUTHORITY_KEY_FILE = "ca.key"
_ISSUED_FILE = "issued.jsonl"
_REVOKED_TITLE = "# Serial numbers of revoked certificates, one a line."
# Clocks of two machines differ.
_CLOCK = timedelta(minutes=5)
_VAULT = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_MOST_HOST_CHARACTERS = 253
# They serve, metrics at least, and call others or are asked for their health with their own certificate.
_SERVERS = frozenset(Role) - {Role.MONITOR, Role.OWNER}


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that an authority issued.

    Attributes:
        role: whom it is of.
        hosts: names and addresses of machines that it is also for.
        serial: its number in hex, random.
        issued: from when it is valid.
        expires: until when.
        folder: where it was written.
        revoked: whether it was taken back.
    """

    role: str
    hosts: tuple[str, ...]
    serial: str
    issued: datetime
    expires: datetime
    folder: str
    revoked: bool = False


class Authority:
    """A vault's certificate authority in its folder, which only the owner may read.

    Args:
        folder: the folder.
        certificate: its own certificate.
        key: its private key.
    """

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, folder: Path, vault: str | None = None) -> Self:
        """Makes an authority in a new folder; this process is shielded from then on, see `raise_shield`.

        Args:
            folder: where to; made with mode 0700.
            vault: name of the vault, for the URIs of its certificates; None: a random one.

        Raises:
            AlreadyExists: if the folder has an authority.
            InvalidArgument: if the name is not one of lower-case letters, digits, dots and dashes.
            CertificateError: if it cannot be written.
        """
        vault = vault if vault is not None else f"vault-{secrets.token_hex(8)}"
        if not _VAULT.fullmatch(vault):
            raise InvalidArgument(f"vault name {vault!r}, want lower-case letters, digits, dots and dashes")
        raise_shield()
        with _locked(folder):
            for name in (AUTHORITY_FILE, AUTHORITY_KEY_FILE):
                if (folder / name).exists():
                    raise AlreadyExists(f"{folder / name} exists; an authority is never overwritten")
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _self_signed(vault, key)
            files.write_key(folder / AUTHORITY_KEY_FILE, key)
            files.write_certificate(folder / AUTHORITY_FILE, certificate)
        return cls(folder, certificate, key)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens an authority; this process is shielded from then on, see `raise_shield`.

        Raises:
            CertificateError: if there is none, others may read its key, it has expired, or its files are not
                of each other.
        """
        raise_shield()
        if not folder.joinpath(AUTHORITY_FILE).exists():
            raise CertificateError(f"no authority in {folder}; make one with `blindsight certificates init`")
        certificate = files.read_certificate(folder / AUTHORITY_FILE)
        key = files.read_key(folder / AUTHORITY_KEY_FILE)
        if certificate.public_key() != key.public_key():
            raise CertificateError(
                f"{folder / AUTHORITY_KEY_FILE} is not the key of {AUTHORITY_FILE} beside it"
            )
        authority = cls(folder, certificate, key)
        if authority.expires <= datetime.now(UTC):
            raise CertificateError(f"the authority in {folder} expired {authority.expires:%Y-%m-%d}")
        return authority

    @property
    def vault(self) -> str:
        """The name of the vault."""
        (name,) = self._certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)

    @property
    def expires(self) -> datetime:
        """The end of the authority, and so of all that it issues."""
        return self._certificate.not_valid_after_utc

    def issue(self, role: Role, folder: Path, hosts: Sequence[str], days: float) -> Issued:
        """Makes a key and its certificate in a folder of mode 0700, beside the authority's certificate.

        Args:
            role: whom it is of.
            folder: where to; what stands there is replaced.
            hosts: names and addresses of machines that it is also for, as clients write them.
            days: for how long.

        Raises:
            InvalidArgument: if a host is none, or the name of a role; if the days are not between 0 and 825,
                or more than the authority has left.
            CertificateError: if it cannot be written.
        """
        names = [_host(role, host) for host in hosts if host != role.value]
        if not 0 < days <= MOST_DAYS:
            raise InvalidArgument(f"{days:g} days, want more than 0 and at most {MOST_DAYS}")
        now = datetime.now(UTC).replace(microsecond=0)
        expires = now + timedelta(days=days)
        if expires > self.expires:
            raise InvalidArgument(f"{days:g} days, and the authority itself ends {self.expires:%Y-%m-%d}")
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(role, names, key.public_key(), now - _CLOCK, expires)
        made = Issued(role.value, tuple(hosts), _serial(certificate), now, expires, str(folder.resolve()))
        with _locked(self._folder):
            _make(folder)
            # What reads them takes the three together or waits: a key without its certificate is none yet.
            files.write_certificate(folder / AUTHORITY_FILE, self._certificate)
            self._write_revoked(folder)
            files.write_key(folder / KEY_FILE, key)
            files.write_certificate(folder / CERTIFICATE_FILE, certificate)
            self._note(made)
        return made

    def renew(self, folder: Path, days: float, within: float) -> Issued | None:
        """Replaces the key and certificate of a folder by new ones of the same role and hosts.

        Args:
            folder: where they are.
            days: for how long the new one is.
            within: renews only what ends within so many days, or is revoked.

        Returns:
            the new certificate, or None if the old one has more time left.

        Raises:
            CertificateError: if there is none, or another authority issued it.
            InvalidArgument: see `issue`.
        """
        old = files.read_certificate(folder / CERTIFICATE_FILE)
        try:
            old.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature):
            raise CertificateError(
                f"{folder / CERTIFICATE_FILE} is of another authority than the one in {self._folder}"
            ) from None
        lasting = old.not_valid_after_utc > datetime.now(UTC) + timedelta(days=within)
        if lasting and _serial(old) not in self._revoked():
            return None
        names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        role = Role(names.get_values_for_type(x509.UniformResourceIdentifier)[0].rpartition("/")[2])
        hosts = [
            *(name for name in names.get_values_for_type(x509.DNSName) if name != role.value),
            *(str(one) for one in names.get_values_for_type(x509.IPAddress)),
        ]
        return self.issue(role, folder, hosts, days)

    def issued(self) -> list[Issued]:
        """Returns what it issued, in the order of time.

        Raises:
            CertificateError: if its list is damaged.
        """
        path = self._folder / _ISSUED_FILE
        try:
            lines = path.read_text().splitlines() if path.exists() else []
            found = [_issued(json.loads(line)) for line in lines]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CertificateError(
                f"{path} is damaged: it is a list of certificates, an object a line"
            ) from error
        revoked = self._revoked()
        return [replace(one, revoked=one.serial in revoked) for one in found]

    def revoke(self, name: str) -> list[Issued]:
        """Takes certificates back: services refuse who shows them, from the next call on.

        The list of all that are revoked is written beside the authority's certificate wherever this authority
        issued one on this machine.  What is elsewhere is given `revoked.txt` of the authority's folder.

        Args:
            name: a serial number, the folder that certificates were issued into, or a role: all of it.

        Returns:
            those that have not expired, also if they were revoked before.

        Raises:
            NotFound: if none is of that name.
            CertificateError: if the list cannot be written somewhere; it is then written everywhere else.
        """
        with _locked(self._folder):
            issued = self.issued()
            named = (name.lower(), str(Path(name).resolve()))
            found = [
                replace(one, revoked=True)
                for one in issued
                if one.expires > datetime.now(UTC)
                and (named[0] in (one.serial, one.role) or named[1] == one.folder)
            ]
            if not found:
                raise NotFound(f"no certificate that is valid has the number, folder or role {name[:100]!r}")
            numbers = self._revoked() | {one.serial for one in found}
            files.write_list(self._folder / REVOKED_FILE, [_REVOKED_TITLE, *sorted(numbers)])
            self._spread({Path(one.folder) for one in issued})
        return found

    def _spread(self, folders: set[Path]) -> None:
        """Writes the list of revoked certificates into folders that have this authority's certificate."""
        failures = []
        for folder in sorted(folders):
            try:
                if files.read_certificate(folder / AUTHORITY_FILE) == self._certificate:
                    self._write_revoked(folder)
            except CertificateError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    failures.append(error)
        if failures:
            raise failures[0]

    def _revoked(self) -> set[str]:
        path = self._folder / REVOKED_FILE
        try:
            lines = path.read_text().lower().splitlines() if path.exists() else []
        except (OSError, ValueError) as error:
            raise CertificateError(f"cannot read {path}") from error
        return {line for line in lines if line and not line.startswith("#")}

    def _write_revoked(self, folder: Path) -> None:
        if numbers := self._revoked():
            files.write_list(folder / REVOKED_FILE, [_REVOKED_TITLE, *sorted(numbers)])

    def _note(self, made: Issued) -> None:
        path = self._folder / _ISSUED_FILE
        row = {name: value for name, value in asdict(made).items() if name != "revoked"}
        try:
            with path.open("a") as file:
                file.write(json.dumps(row, default=datetime.isoformat) + "\n")
        except OSError as error:
            raise CertificateError(f"cannot write {path}: {error.strerror}") from error

    def _signed(
        self,
        role: Role,
        hosts: Sequence[x509.GeneralName],
        key: ec.EllipticCurvePublicKey,
        begins: datetime,
        expires: datetime,
    ) -> x509.Certificate:
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if role in _SERVERS:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        uri = x509.UniformResourceIdentifier(spiffe_id(self.vault, role))
        names = x509.SubjectAlternativeName([uri, x509.DNSName(role.value), *hosts])
        return (
            _builder(role.value, self._certificate.subject, key, begins, expires)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, SHA256())
        )


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def _self_signed(vault: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, vault)])
    return (
        _builder(vault, name, key.public_key(), now - _CLOCK, now + timedelta(days=_AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, SHA256())
    )


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, expires: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(expires)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*of: str) -> x509.KeyUsage:
    """Returns the usage of a key for these purposes and no others."""
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in of for name in every})


def _host(role: Role, host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if len(host) > _MOST_HOST_CHARACTERS or not _HOST.fullmatch(host):
        raise InvalidArgument(f"host {host[:100]!r}, want a name or an address")
    if host.lower() in set(Role) - {role}:
        raise InvalidArgument(f"host {host!r} is the name of a role, by which services know each other")
    return x509.DNSName(host)


def _issued(row: dict[str, object]) -> Issued:
    begin, end = (datetime.fromisoformat(str(row[name])) for name in ("issued", "expires"))
    hosts = tuple(map(str, row["hosts"])) if isinstance(row["hosts"], list) else ()
    return Issued(str(row["role"]), hosts, str(row["serial"]), begin, end, str(row["folder"]))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    _make(folder)
    try:
        with locked(folder / LOCK_NAME):
            yield
    except OSError as error:
        raise CertificateError(f"cannot write {error.filename}: {error.strerror}") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CertificateError(f"cannot make {folder}: {error.strerror}") from error
