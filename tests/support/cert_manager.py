"""Certificates as cert-manager's CA issuer makes them, in folders as the kubelet mounts them."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from blindsight.runtime.roles import Role

# The names of usages that stand in the manifests.
_SIGNING = {"digital signature": "digital_signature"}
_EXTENDED = {"client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server auth": ExtendedKeyUsageOID.SERVER_AUTH}


def _seconds(duration: str) -> datetime.timedelta:
    (hours,) = re.fullmatch(r"(\d+)h", duration).groups()
    return datetime.timedelta(hours=int(hours))


def _usage(*of: str) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in of for name in every})


class CertManager:
    """The issuer, and a mounted folder for each Certificate.

    Args:
        folder: for all of them.
        specs: the specifications of the manifests by role; "" for that of the authority.
    """

    def __init__(self, folder: Path, specs: dict[str, dict[str, Any]]) -> None:
        self._folder = folder
        self._specs = dict(specs)
        about = self._specs.pop("")
        assert about["isCA"] is True
        self._key = self._made_key(about)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, about["commonName"])])
        builder = self._builder(about, self._key, self._name)
        self.authority = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage("digital_signature", "key_encipherment", "key_cert_sign"), critical=True)
            .sign(self._key, SHA256())
        )

    def _made_key(self, spec: dict[str, Any]) -> ec.EllipticCurvePrivateKey:
        assert (spec["privateKey"]["algorithm"], spec["privateKey"]["size"]) == ("ECDSA", 256)
        return ec.generate_private_key(ec.SECP256R1())

    def _builder(
        self, spec: dict[str, Any], key: ec.EllipticCurvePrivateKey, name: x509.Name
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(seconds=1))
            .not_valid_after(now + _seconds(spec["duration"]))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def issue(self, role: str) -> None:
        """Issues a certificate into its folder as the kubelet does: all files at one instant."""
        spec = self._specs[role]
        key = self._made_key(spec)
        names = [
            *map(x509.UniformResourceIdentifier, spec["uris"]),
            *map(x509.DNSName, spec["dnsNames"]),
        ]
        signing = [_SIGNING[one] for one in spec["usages"] if one in _SIGNING]
        extended = [_EXTENDED[one] for one in spec["usages"] if one not in _SIGNING]
        made = (
            self._builder(spec, key, x509.Name([]))
            # Critical, because there is no subject.
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(*signing), critical=True)
            .add_extension(x509.ExtendedKeyUsage(extended), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._mount(
            role,
            {
                "ca.crt": self.authority.public_bytes(Encoding.PEM),
                "tls.crt": made.public_bytes(Encoding.PEM),
                "tls.key": private,
            },
        )

    def _mount(self, role: str, content: dict[str, bytes]) -> None:
        folder = self._folder / role
        version = folder / f"..{len(list(folder.iterdir())) if folder.exists() else 0}"
        version.mkdir(parents=True)
        for name, data in content.items():
            (version / name).write_bytes(data)
            (version / name).chmod(0o440)
        temporary = folder / "..data_tmp"
        temporary.symlink_to(version.name)
        temporary.rename(folder / "..data")
        for name in content:
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")

    def of(self, role: Role) -> Path:
        """The folder of a role."""
        if not (self._folder / role.value).exists():
            self.issue(role.value)
        return self._folder / role.value
