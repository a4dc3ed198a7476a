"""The authority: what it signs, for whom and until when, and what it refuses."""

import json
import shutil
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from blindsight.errors import AlreadyExists, CertificateError, InvalidArgument, NotFound
from blindsight.runtime.roles import Role
from blindsight.trusted.identity import Authority

SERVERS = {Role.KEYHOLDER, Role.WORKER, Role.EVALUATOR, Role.STORAGE, Role.QUEUE}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.create(tmp_path_factory.mktemp("authority") / "own", "home")


def read(folder, name="tls.crt"):
    return x509.load_pem_x509_certificate((folder / name).read_bytes())


def policy(folder):
    return PolicyBuilder().store(Store([read(folder, "ca.crt")]))


@pytest.mark.parametrize("role", Role)
def test_a_certificate_is_of_its_role_for_its_hosts_and_for_ninety_days(authority, tmp_path, role):
    made = authority.issue(role, tmp_path / "one", ["vault.lan", "10.0.0.7", "::1"], 90)
    certificate = read(tmp_path / "one")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://home/{role}"]
    assert names.get_values_for_type(x509.DNSName) == [role.value, "vault.lan"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7", "::1"]
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    assert made.serial == f"{certificate.serial_number:x}"
    assert (made.role, made.hosts) == (role, ("vault.lan", "10.0.0.7", "::1"))
    assert made.expires == certificate.not_valid_after_utc
    assert timedelta(days=89.9) < made.expires - datetime.now(UTC) <= timedelta(days=90)
    assert policy(tmp_path / "one").build_client_verifier().verify(certificate, []).chain[0] == certificate
    for name in (x509.DNSName(role.value), x509.DNSName("vault.lan")):
        verifier = policy(tmp_path / "one").build_server_verifier(name)
        if role in SERVERS:
            verifier.verify(certificate, [])
        else:
            with pytest.raises(VerificationError):
                verifier.verify(certificate, [])


def test_private_keys_are_their_owners_alone_and_no_two_are_alike(authority, tmp_path):
    for name in ("one", "other"):
        authority.issue(Role.WORKER, tmp_path / name, [], 90)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / name / "tls.key").stat().st_mode) == 0o600
    assert (tmp_path / "one" / "tls.key").read_bytes() != (tmp_path / "other" / "tls.key").read_bytes()
    assert read(tmp_path / "one").serial_number != read(tmp_path / "other").serial_number
    made = Authority.create(tmp_path / "authority")
    assert made.vault != Authority.create(tmp_path / "second").vault
    assert stat.S_IMODE((tmp_path / "authority").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "authority" / "ca.key").stat().st_mode) == 0o600


def test_an_authority_is_never_overwritten(tmp_path):
    Authority.create(tmp_path)
    before = (tmp_path / "ca.key").read_bytes()
    with pytest.raises(AlreadyExists, match="never overwritten"):
        Authority.create(tmp_path)
    (tmp_path / "ca.crt").unlink()
    with pytest.raises(AlreadyExists, match="never overwritten"):
        Authority.create(tmp_path)
    assert (tmp_path / "ca.key").read_bytes() == before


@pytest.mark.parametrize(
    "host", ["", "a b", "*", "-a", "a..b", "https://a", "a" * 300, "storage", "Keyholder"]
)
def test_a_host_that_is_none_or_the_name_of_another_role_is_refused(authority, tmp_path, host):
    with pytest.raises(InvalidArgument, match=r"^host "):
        authority.issue(Role.WORKER, tmp_path / "one", [host], 90)
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("days", [0, -1, 826, float("nan")])
def test_a_life_that_is_none_or_too_long_is_refused(authority, tmp_path, days):
    with pytest.raises(InvalidArgument, match="at most 825"):
        authority.issue(Role.WORKER, tmp_path / "one", [], days)


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "-a", "a" * 64])
def test_a_vault_name_that_cannot_stand_in_a_uri_is_refused(tmp_path, name):
    with pytest.raises(InvalidArgument, match="vault name"):
        Authority.create(tmp_path / "authority", name)
    assert not (tmp_path / "authority").exists()


def test_what_ends_soon_is_renewed_with_a_new_key_and_the_same_names(authority, tmp_path):
    folder = tmp_path / "one"
    old = authority.issue(Role.STORAGE, folder, ["vault.lan", "10.0.0.7"], 29)
    key = (folder / "tls.key").read_bytes()
    new = authority.renew(folder, 90, within=30)
    assert (new.role, new.hosts, new.folder) == (old.role, old.hosts, old.folder)
    assert new.serial != old.serial
    assert new.expires > old.expires
    assert (folder / "tls.key").read_bytes() != key
    assert authority.renew(folder, 90, within=30) is None
    assert authority.issued()[-2:] == [old, new]


def test_a_certificate_of_another_authority_is_not_renewed(authority, tmp_path):
    Authority.create(tmp_path / "other", "home").issue(Role.STORAGE, tmp_path / "one", [], 1)
    with pytest.raises(CertificateError, match="of another authority than the one in"):
        authority.renew(tmp_path / "one", 90, within=30)


def test_a_number_a_folder_or_a_role_is_revoked_and_services_are_told(tmp_path):
    authority = Authority.create(tmp_path / "authority", "home")
    storage, gone, worker, other = (
        authority.issue(role, tmp_path / name, [], 1)
        for role, name in zip(
            (Role.STORAGE, Role.STORAGE, Role.WORKER, Role.WORKER), ("s", "gone", "w", "other"), strict=True
        )
    )
    shutil.rmtree(tmp_path / "gone")
    again = authority.issue(Role.WORKER, tmp_path / "w", [], 1)
    told = [tmp_path / name / "revoked.txt" for name in ("authority", "s", "w", "other")]

    def numbers():
        found = {path.read_text() for path in told}
        assert len(found) == 1
        return set(found.pop().splitlines()[1:])

    assert not any(path.exists() for path in told)
    with pytest.raises(NotFound, match="'evaluator'"):
        authority.revoke("evaluator")
    assert authority.revoke(storage.serial.upper()) == [replace(storage, revoked=True)]
    assert numbers() == {storage.serial}
    assert [one.serial for one in authority.revoke(str(tmp_path / "w"))] == [worker.serial, again.serial]
    assert [one.serial for one in authority.revoke("worker")] == [worker.serial, other.serial, again.serial]
    assert numbers() == {storage.serial, worker.serial, other.serial, again.serial}
    assert [one.serial for one in authority.issued() if not one.revoked] == [gone.serial]
    authority.issue(Role.EVALUATOR, tmp_path / "later", [], 1)
    assert (tmp_path / "later" / "revoked.txt").read_text() == told[0].read_text()
    assert authority.renew(tmp_path / "s", 1, within=0).serial != storage.serial
    assert authority.renew(tmp_path / "s", 1, within=0) is None


def test_a_list_that_cannot_be_written_somewhere_is_written_everywhere_else(tmp_path):
    authority = Authority.create(tmp_path / "authority", "home")
    for name in ("a", "b", "c"):
        authority.issue(Role.WORKER, tmp_path / name, [], 1)
    (tmp_path / "b" / "revoked.txt").mkdir()
    with pytest.raises(CertificateError, match=r"cannot write .*/b/revoked.txt"):
        authority.revoke("worker")
    assert (tmp_path / "a" / "revoked.txt").read_text() == (tmp_path / "c" / "revoked.txt").read_text()


def opened_again(folder, change):
    change(folder)
    return Authority.open(folder)


def another_key(folder):
    other = Authority.create(folder / "other")
    (folder / "other" / "ca.key").rename(folder / "ca.key")
    return other


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "ca.crt").unlink(), "no authority in .*certificates init"),
        (lambda folder: (folder / "ca.key").unlink(), "cannot read .*ca.key: No such file"),
        (lambda folder: (folder / "ca.key").chmod(0o640), "mode 0640, want 0600"),
        (lambda folder: (folder / "ca.key").write_text("x"), "no private key in PEM"),
        (lambda folder: (folder / "ca.crt").write_text("x"), "no certificate in PEM"),
        (another_key, "is not the key of ca.crt"),
    ],
    ids=["none", "no key", "others may read", "no PEM", "no certificate", "another key"],
)
def test_an_authority_that_is_not_right_is_refused_in_one_line(tmp_path, change, said):
    folder = tmp_path / "authority"
    Authority.create(folder)
    with pytest.raises(CertificateError, match=said) as refused:
        opened_again(folder, change)
    assert "\n" not in str(refused.value)


def test_an_expired_authority_issues_nothing(authority, tmp_path, monkeypatch):
    monkeypatch.setattr("blindsight.trusted.identity.authority._AUTHORITY_DAYS", -1 / 1440)
    Authority.create(tmp_path)
    with pytest.raises(CertificateError, match="expired"):
        Authority.open(tmp_path)
    monkeypatch.setattr("blindsight.trusted.identity.authority._AUTHORITY_DAYS", 10)
    soon = Authority.create(tmp_path / "soon")
    with pytest.raises(InvalidArgument, match="the authority itself ends"):
        soon.issue(Role.WORKER, tmp_path / "one", [], 11)


def test_a_damaged_list_is_refused_in_one_line(tmp_path):
    made = Authority.create(tmp_path / "authority")
    made.issue(Role.WORKER, tmp_path / "one", [], 1)
    (line,) = (tmp_path / "authority" / "issued.jsonl").read_text().splitlines()
    for damaged in ("{", json.dumps({**json.loads(line), "expires": "soon"}), "[]"):
        (tmp_path / "authority" / "issued.jsonl").write_text(f"{line}\n{damaged}\n")
        with pytest.raises(CertificateError, match="damaged"):
            made.issued()
