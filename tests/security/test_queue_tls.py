"""A broker with the listener that is deployed: who is no client of the vault gets no connection to it."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.broker import PASSWORD, USER, Broker
from support.bulk import BulkServices
from support.certificates import Issuer, wait_for
from support.photos import small_photo
from support.queues import message, patiently_taken, published, taken
from support.services import wait_until

import blindsight
from blindsight.errors import CertificateError, Unavailable
from blindsight.runtime.roles import Role
from blindsight.runtime.tls import Certificates
from blindsight.trusted.queue import Queue, QueueOptions, open_queue


@dataclass
class Place:
    """A broker of a vault, and its authority."""

    broker: Broker
    issuer: Issuer
    stranger: Issuer
    folder: Path  # of the broker's certificate

    def open(self, own: Path, url: str = "") -> Queue:
        settings = QueueOptions(name=f"test.{os.urandom(6).hex()}", silence_seconds=2, answer_seconds=20)
        return open_queue(url or self.broker.url, settings, Certificates(own))

    def shown(self) -> bytes:
        """The certificate that the broker shows."""
        own = self.issuer.of(Role.WORKER)
        context = ssl.create_default_context(cafile=own / "ca.crt")
        context.load_cert_chain(own / "tls.crt", own / "tls.key")
        with (
            socket.create_connection(("127.0.0.1", self.broker.tls_port), 10) as raw,
            context.wrap_socket(raw, server_hostname="queue") as secure,
        ):
            found = secure.getpeercert(binary_form=True)
        assert found
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    stranger = Issuer(tmp_path_factory.mktemp("stranger"))
    own = issuer.folder / "queue"
    issuer.authority.issue(Role.QUEUE, own, ["127.0.0.1"], 1)
    broker = Broker(tmp_path_factory.mktemp("broker"), own / "tls.crt", own / "tls.key", vault=True)
    try:
        broker.start()
        yield Place(broker, issuer, stranger, own)
    finally:
        broker.kill()


@pytest.mark.timeout(240)
def test_photos_go_through_a_broker_that_knows_the_keyholder_and_its_workers(
    place: Place, tmp_path: Path
) -> None:
    queue = {"queue_name": f"test.{os.urandom(6).hex()}"}
    services = BulkServices(tmp_path, queue_url=place.broker.url, queue=queue, certificates=place.issuer)
    try:
        services.start()
        services.worker()
        with blindsight.connect(services.address()) as vault:
            album = vault.create_collection("album", embedder="pixels", dimension=64)
            photos = [(f"{number}.png", small_photo(number)) for number in range(20)]
            job = album.ingest_bulk(photos[:10])
            # Both come back with their certificates.
            place.broker.control("close_all_connections", "a test")
            assert job.wait().done == 10
            assert album.ingest_bulk(photos[10:]).wait().done == 10
            assert album.describe().items == 20
    finally:
        services.stop()


@pytest.mark.parametrize("who", ["no certificate", "another authority", "expired", "no TLS"])
def test_who_is_nobody_gets_no_connection(place: Place, who: str) -> None:
    known = f"?cafile={place.folder / 'ca.crt'}"
    shown = {
        "another authority": place.stranger.of(Role.KEYHOLDER),
        "expired": place.issuer.expired(Role.KEYHOLDER),
    }.get(who)
    if shown is not None:
        known += f"&certfile={shown / 'tls.crt'}&keyfile={shown / 'tls.key'}"
    url = place.broker.url + known
    if who == "no TLS":
        url = f"amqp://{USER}:{PASSWORD}@127.0.0.1:{place.broker.tls_port}/"
    time.sleep(1 if who == "expired" else 0)
    with pytest.raises(Unavailable, match="does not answer"):
        open_queue(url, QueueOptions(name="nobody", answer_seconds=5))
    assert "nobody" not in place.broker.control("list_queues", "name")
    good = place.issuer.of(Role.KEYHOLDER)
    known = f"?cafile={good / 'ca.crt'}&certfile={good / 'tls.crt'}&keyfile={good / 'tls.key'}"
    open_queue(place.broker.url + known, QueueOptions(name="somebody")).close()  # the way is no dud


def test_an_older_version_of_tls_is_not_spoken(place: Place) -> None:
    own = place.issuer.of(Role.KEYHOLDER)
    context = ssl.create_default_context(cafile=own / "ca.crt")
    context.load_cert_chain(own / "tls.crt", own / "tls.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", place.broker.tls_port), 10) as raw,
        pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
    ):
        context.wrap_socket(raw, server_hostname="queue")


@pytest.mark.parametrize("who", ["another role", "another authority"])
def test_no_other_is_taken_for_the_broker(place: Place, who: str) -> None:
    theirs = place.issuer.of(Role.STORAGE) if who == "another role" else place.stranger.of(Role.STORAGE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs / "tls.crt", theirs / "tls.key")
    heard: list[bytes] = []

    def pose(server: socket.socket) -> None:
        raw, _ = server.accept()
        with raw:
            try:
                with context.wrap_socket(raw, server_side=True) as secure:
                    heard.append(secure.recv(100))
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        posing = threading.Thread(target=pose, args=(server,))
        posing.start()
        url = f"amqps://{USER}:{PASSWORD}@127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(Unavailable, match="certificate verify failed"):
            place.open(place.issuer.of(Role.KEYHOLDER), url)
        posing.join(10)
    assert not any(heard)


def test_renewed_certificates_are_taken_on_both_sides_without_a_restart(place: Place, tmp_path: Path) -> None:
    own = tmp_path / "keyholder"
    before = place.shown()
    end = place.issuer.brief(Role.KEYHOLDER, own, 4)
    with place.open(own) as queue:
        consumer = queue.consumer(prefetch=1)
        (sent,) = published(queue, 1)
        held = taken(consumer)
        wait_for(end)
        # What stands outlives its certificate.
        assert held.ack()
        queue.publish(late := message())
        delivery = patiently_taken(consumer)
        assert delivery.message == late
        assert delivery.ack()
        place.broker.control("close_all_connections", "a test")
        wait_until(lambda: not_answering(queue), what="a word about the certificate")
        place.issuer.authority.renew(own, 1, within=30)
        place.issuer.authority.renew(place.folder, 1, within=30)
        # Two minutes later it would look by itself.
        place.broker.control("eval", "ssl:clear_pem_cache().")
        assert place.shown() != before
        (sent,) = published(queue, 1)
        assert patiently_taken(consumer).message == sent
    with pytest.raises(CertificateError, match="expired"):
        place.open(place.issuer.expired(Role.KEYHOLDER))


def not_answering(queue: Queue) -> bool:
    try:
        queue.depth()
    except Unavailable as error:
        return "expired" in error.message
    return False


def test_a_revoked_certificate_is_not_shown_any_more(place: Place, tmp_path: Path) -> None:
    own = tmp_path / "worker"
    place.issuer.authority.issue(Role.WORKER, own, [], 1)
    place.open(own).close()
    shutil.copy(own / "tls.crt", tmp_path)
    certificates = Certificates(own)
    place.issuer.authority.revoke(str(own))
    with pytest.raises(CertificateError, match=r"is in .*revoked.txt"):
        open_queue(place.broker.url, QueueOptions(name="revoked"), certificates)
