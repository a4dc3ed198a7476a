"""A process's certificate: what is refused, and that renewed files are taken without a restart."""

import asyncio
import os
import shutil
import socket
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import grpc.aio
import pytest
from support.certificates import Issuer, self_signed, wait_for

from blindsight.errors import CertificateError, PermissionDenied, Unavailable
from blindsight.runtime import health, policy
from blindsight.runtime.access import Access
from blindsight.runtime.peer import Connection, Peer
from blindsight.runtime.roles import Role, role_of
from blindsight.runtime.server import Listener, Server
from blindsight.runtime.tls import Certificates, serial_of

METHOD = "/blindsight.storage.v1.StorageService/GetItems"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Another authority of a vault of the same name."""
    return Issuer(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def folder(issuer, tmp_path):
    """A copy of the keyholder's folder, to be changed."""
    return shutil.copytree(issuer.of(Role.KEYHOLDER), tmp_path / "own")


def renewed(issuer, folder):
    old = (folder / "tls.crt").read_bytes()
    issuer.authority.renew(folder, 1, within=30)
    assert (folder / "tls.crt").read_bytes() != old


def test_a_certificate_says_whose_it_is(issuer):
    for role in Role:
        own = Certificates(issuer.of(role)).current
        assert (own.vault, own.role) == ("home", role)
        assert 0 < own.expires - time.time() <= 86_400
        assert "BEGIN" not in repr(own)


def without(name):
    return lambda folder, *_: (folder / name).unlink()


def other_key(folder, issuer, _):
    shutil.copy(issuer.of(Role.STORAGE) / "tls.key", folder)


def other_authority(folder, _, stranger):
    shutil.copy(stranger.of(Role.STORAGE) / "ca.crt", folder)


def no_role(folder, *_):
    certificate, key = self_signed(folder)
    for path, name in ((certificate, "tls.crt"), (key, "tls.key")):
        path.rename(folder / name)
    (folder / "tls.key").chmod(0o600)
    shutil.copy(folder / "tls.crt", folder / "ca.crt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("ca.crt"), r"cannot read .*/ca.crt: No such file"),
        (without("tls.crt"), r"cannot read .*/tls.crt: No such file"),
        (without("tls.key"), r"cannot read .*/tls.key: No such file"),
        (lambda folder, *_: (folder / "tls.key").chmod(0o604), r"tls.key has mode 0604, want 0600"),
        (lambda folder, *_: (folder / "tls.key").write_text("x"), r"tls.key is not the key of tls.crt"),
        (lambda folder, *_: (folder / "ca.crt").write_text("x"), r"ca.crt is no certificate in PEM"),
        (other_key, r"tls.key is not the key of tls.crt"),
        (other_authority, r"tls.crt is (of another authority than .*/ca.crt|refused: )"),
        (no_role, r"tls.crt names no role"),
    ],
    ids=[
        "no authority",
        "no certificate",
        "no key",
        "anybody may read",
        "no PEM",
        "authority no PEM",
        "other key",
        "other authority",
        "no role",
    ],
)
def test_what_is_not_right_is_refused_in_one_line(folder, issuer, stranger, change, said):
    change(folder, issuer, stranger)
    with pytest.raises(CertificateError, match=said) as refused:
        Certificates(folder)
    assert "\n" not in str(refused.value)


def test_renewed_files_are_taken_and_damaged_ones_are_not(issuer, folder):
    told = []
    own = Certificates(folder, told.append)
    before = own.current
    assert own.current is before
    renewed(issuer, folder)
    after = own.current
    assert after.certificate == (folder / "tls.crt").read_bytes() != before.certificate
    (folder / "tls.key").write_text("x")
    assert own.current is after
    assert [type(error) for error in told] == [CertificateError]
    renewed(issuer, folder)
    assert own.current.certificate == (folder / "tls.crt").read_bytes() != after.certificate


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://home",
        "spiffe://home/root",
        "https://home/storage",
        "spiffe://home/storage/x",
        "spiffe://Home/storage",
        "spiffe://home/storage\n",
    ],
)
def test_a_uri_that_is_no_role_is_none(uri):
    assert role_of(uri) is None


@pytest.mark.parametrize(
    "method",
    [
        "",
        "/",
        "/grpc/Any",
        "/blindsight.storage.v1.StorageService/None",
        "/blindsight.keyholder.v1.Other/GetStatus",
        "/blindsight.other.v1.X/Y",
    ],
)
def test_nobody_may_call_what_is_in_no_table(method):
    assert policy.callers(method) == frozenset()


class Echo(grpc.GenericRpcHandler):
    """Sends back what it gets, as storage."""

    def __init__(self):
        self.calls = 0

    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(self._answer, bytes, bytes)

    async def _answer(self, requests, _):
        self.calls += 1
        async for one in requests:
            yield one


@asynccontextmanager
async def serving(folder, *, vault="home", plaintext=None):
    """A storage with a certificate: its handler and address, and one without TLS for `plaintext`."""
    echo = Echo()
    own = Certificates(folder)
    access = Access(lambda: replace(own.current, vault=vault), plaintext)
    server = Server([], lambda made: made.add_generic_rpc_handlers([echo]), access=access)
    listeners = [Listener("address", "127.0.0.1:0", own)]
    if plaintext is not None:
        listeners.append(Listener("plain", "127.0.0.1:0"))
    addresses = await server.start(listeners)
    try:
        yield echo, *addresses.values()
    finally:
        await server._server.stop(0)


class Stub:
    def __init__(self, channel):
        self.echo = channel.stream_stream(METHOD)


def peer(address, folder, role=Role.STORAGE):
    return Peer(role, address, Stub, Connection(retry_seconds=0.5, certificates=Certificates(folder)))


async def ask(one, said=b"hello"):
    async def attempt():
        return [answer async for answer in one.stub.echo(iter([said]))]

    return await one.call(attempt)


async def test_a_caller_is_let_in_by_its_role_alone(issuer):
    async with serving(issuer.of(Role.STORAGE)) as (echo, address):
        for role in Role:
            one = peer(address, issuer.of(role))
            if role in policy.callers(METHOD):
                assert await ask(one) == [b"hello"]
            else:
                with pytest.raises(
                    PermissionDenied, match=r"^permission denied: this caller may not make this call$"
                ):
                    await ask(one)
            await one.close()
        assert echo.calls == len(policy.callers(METHOD)) == 2


async def test_a_caller_of_another_vault_of_the_same_authority_is_refused(issuer):
    async with serving(issuer.of(Role.STORAGE), vault="office") as (echo, address):
        one = peer(address, issuer.of(Role.KEYHOLDER))
        with pytest.raises(PermissionDenied):
            await ask(one)
        await one.close()
    assert echo.calls == 0


async def test_no_other_service_is_taken_for_the_one_that_is_called(issuer):
    async with serving(issuer.of(Role.EVALUATOR)) as (echo, address):
        one = peer(address, issuer.of(Role.KEYHOLDER))
        with pytest.raises(Unavailable, match="storage does not answer, or not to this certificate"):
            await ask(one)
        await one.close()
    assert echo.calls == 0


async def test_who_comes_without_tls_is_whom_that_address_is_for(issuer):
    async with serving(issuer.of(Role.STORAGE), plaintext=Role.OWNER) as (echo, secure, plain):
        denied, unreachable = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
        for address, method, code in (
            (plain, "/blindsight.keyholder.v1.KeyholderService/GetStatus", None),
            (plain, "/blindsight.keyholder.v1.WorkerService/ReportItems", denied),
            (plain, METHOD, denied),
            (secure, "/blindsight.keyholder.v1.KeyholderService/GetStatus", unreachable),
        ):
            async with grpc.aio.insecure_channel(address) as channel:
                call = channel.stream_stream(method)(iter([b"hello"]), timeout=5)
                if code is None:
                    assert await call.read() == b"hello"
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call.read()
                assert refused.value.code() is code, method
    assert echo.calls == 1


async def test_a_connection_of_an_older_version_of_tls_may_call_nothing(issuer):
    """Made by hand, as gRPC offers none: the preface of HTTP/2, and headers of a call of storage."""
    context = ssl.create_default_context(cafile=issuer.of(Role.STORAGE) / "ca.crt")
    own = issuer.of(Role.KEYHOLDER)
    context.load_cert_chain(own / "tls.crt", own / "tls.key")
    context.set_alpn_protocols(["h2"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def literal(name, value):
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    def call(address):
        host, _, port = address.rpartition(":")
        headers = {
            b":method": b"POST",
            b":scheme": b"https",
            b":path": METHOD.encode(),
            b":authority": b"storage",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
        }
        block = b"".join(literal(*one) for one in headers.items())
        with (
            socket.create_connection((host, int(port)), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname="storage") as secure,
        ):
            assert secure.version() == "TLSv1.2"
            frame = len(block).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big") + block
            secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\0" + bytes(4) + frame)
            seen = b""
            while b"grpc-status" not in seen:
                seen += secure.recv(1 << 16)
            return seen

    async with serving(issuer.of(Role.STORAGE)) as (echo, address):
        seen = await asyncio.to_thread(call, address)
    assert b"may not make this call" in seen
    assert echo.calls == 0


async def test_a_stream_outlives_the_renewal_and_the_end_of_certificates(issuer, tmp_path):
    of_storage, of_keyholder = tmp_path / "storage", tmp_path / "keyholder"
    end = issuer.brief(Role.STORAGE, of_storage, 6)
    issuer.brief(Role.KEYHOLDER, of_keyholder, 6)
    async with serving(of_storage) as (_, address):
        one = peer(address, of_keyholder)
        more = asyncio.Queue()

        async def requests():
            while (said := await more.get()) is not None:
                yield said

        await one.call(lambda: asyncio.sleep(0))
        stream = one.stub.echo(requests())
        await more.put(b"before")
        assert await stream.read() == b"before"
        for folder in (of_storage, of_keyholder):
            renewed(issuer, folder)
        shown = one._shown
        assert await ask(one) == [b"hello"]
        assert one._shown is not shown
        await asyncio.to_thread(wait_for, end)
        await more.put(b"after")
        assert await stream.read() == b"after"
        late = peer(address, of_keyholder)
        assert await ask(late) == [b"hello"]
        await more.put(None)
        assert await stream.read() is grpc.aio.EOF
        await late.close()
        await one.close()


async def test_what_has_expired_is_refused_on_both_sides_until_it_is_renewed(issuer, tmp_path):
    of_storage, of_keyholder = tmp_path / "storage", tmp_path / "keyholder"
    issuer.brief(Role.STORAGE, of_storage, 4)
    end = issuer.brief(Role.KEYHOLDER, of_keyholder, 4)
    lasting = issuer.of(Role.KEYHOLDER)
    async with serving(of_storage) as (_, expired), serving(issuer.of(Role.STORAGE)) as (_, address):
        ended, server_ended = peer(address, of_keyholder), peer(expired, lasting)
        for one in (ended, server_ended):
            assert await ask(one) == [b"hello"]
        await server_ended.close()
        await asyncio.to_thread(wait_for, end)
        with pytest.raises(CertificateError, match=r"expired .* UTC; `blindsight certificates renew`"):
            await ask(ended)
        with pytest.raises(CertificateError, match="has expired"):
            Certificates(of_keyholder)
        late = peer(expired, lasting)
        with pytest.raises(Unavailable, match="or not to this certificate"):
            await ask(late)
        for folder in (of_storage, of_keyholder):
            renewed(issuer, folder)
        for one in (ended, late):
            assert await ask(one) == [b"hello"]
            await one.close()


async def test_who_is_revoked_is_refused_from_the_next_call_on_and_the_rest_is_not(issuer, tmp_path):
    of_storage, thief = tmp_path / "storage", tmp_path / "thief"
    issuer.authority.issue(Role.STORAGE, of_storage, [], 1)
    made = issuer.authority.issue(Role.KEYHOLDER, thief, [], 1)
    async with serving(of_storage) as (echo, address):
        one, other = peer(address, thief), peer(address, issuer.of(Role.KEYHOLDER))
        shutil.copytree(thief, tmp_path / "stolen")
        stolen = peer(address, tmp_path / "stolen")
        for connected in (one, other, stolen):
            assert await ask(connected) == [b"hello"]
        issuer.authority.revoke(made.serial)
        with pytest.raises(
            PermissionDenied, match=r"^permission denied: this caller may not make this call$"
        ):
            await ask(stolen)
        with pytest.raises(CertificateError, match=r"tls.crt is in .*revoked.txt"):
            await ask(one)
        assert await ask(other) == [b"hello"]
        assert echo.calls == 4
        issuer.authority.renew(thief, 1, within=0)
        assert await ask(one) == [b"hello"]
        for connected in (one, other, stolen):
            await connected.close()


def test_a_list_of_revoked_certificates_is_taken_as_it_is_written_and_no_other(tmp_path):
    folder = Issuer(tmp_path).of(Role.STORAGE)
    own = Certificates(folder)
    assert own.current.revoked == frozenset()
    (folder / "revoked.txt").write_text("# ours\n0aF3\n\n7\n")
    assert own.current.revoked == {0xAF3, 7}
    (folder / "revoked.txt").write_text("0aF3\nstorage\n")
    assert own.current.revoked == {0xAF3, 7}
    with pytest.raises(CertificateError, match=r"revoked.txt is no list of serial numbers in hex"):
        Certificates(folder)
    (folder / "revoked.txt").write_text(f"{own.current.serial:X}\n")
    with pytest.raises(CertificateError, match=r"tls.crt is in .*revoked.txt"):
        Certificates(folder)


def test_the_number_of_a_certificate_is_read_from_it(tmp_path):
    issuer = Issuer(tmp_path, "a" * 63)
    for count in range(40):  # the lengths in its DER differ
        made = issuer.authority.issue(Role.WORKER, tmp_path / "one", [f"h{n}.lan" for n in range(count)], 1)
        assert f"{serial_of((tmp_path / 'one' / 'tls.crt').read_text()):x}" == made.serial


async def test_old_connections_are_closed_once_their_calls_have_long_ended(issuer, folder):
    async with serving(issuer.of(Role.STORAGE)) as (_, address):
        one = peer(address, folder)
        for _ in range(4):
            assert await ask(one) == [b"hello"]
            renewed(issuer, folder)
        assert await ask(one) == [b"hello"]
        assert len(one._retired) == 1
        await one.close()


async def test_health_is_told_to_every_certificate_of_the_vault_and_to_no_other(issuer, stranger, capfd):
    async with serving(issuer.of(Role.STORAGE)) as (_, address):
        for given, code in (
            (["liveness", "--tls", str(issuer.of(Role.STORAGE))], 0),
            (["--tls", str(issuer.of(Role.STORAGE))], 1),  # lives, and is not ready: nobody runs it
            (["liveness", "--tls", str(stranger.of(Role.STORAGE))], 1),
            (["liveness"], 1),
            (["liveness", "--tls"], 1),
            (["liveness", "--tls", os.devnull], 1),
        ):
            capfd.readouterr()
            assert await asyncio.to_thread(health.main, [address, *given]) == code, given
            lines = capfd.readouterr().err.splitlines()
            assert len([line for line in lines if line.startswith("blindsight health: ")]) == code
