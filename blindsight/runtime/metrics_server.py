"""The HTTP server of /metrics."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from socketserver import TCPServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from blindsight.runtime.roles import Role
from blindsight.runtime.tls import Certificates

# Visitors at a time, each served by a thread.  A scrape takes milliseconds; Prometheus makes one at a time.
_VISITORS = 4
# A connection that sends or takes nothing for so long is closed, and any after the second time.
_SILENCE_SECONDS, _WHOLE_SECONDS = 2.0, 10.0
# For a request, also while others wait for the place.
_MOMENT_SECONDS = 0.25


@dataclass(eq=False)
class _Visitor:
    connection: socket.socket
    address: Any
    came: float = field(default_factory=time.monotonic)

    def send_away(self) -> None:
        """Ends the connection; the thread that serves it notices."""
        with suppress(OSError):  # it is gone
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_SECONDS

    def parse_request(self) -> bool:
        """Reads the request; who has sent one whole is answered, whoever else comes."""
        whole = super().parse_request()
        if isinstance(self.server, _Server):
            self.server.asked(self.client_address)
        return whole

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Logs nothing."""


class _Server(WSGIServer):
    """Serves a few connections at a time; while others wait, one has a moment to say what it wants.

    prometheus_client's own server keeps a thread for every connection, for as long as a client likes.
    """

    request_queue_size = 64

    def __init__(
        self, registry: CollectorRegistry, host: str, port: int, certificates: Certificates | None
    ) -> None:
        self._certificates = certificates
        self._lock = threading.Lock()
        self._room = threading.Semaphore(_VISITORS)
        self._admitted: SimpleQueue[_Visitor] = SimpleQueue()
        # By address and port: all, and those who have not sent a whole request.
        self._visitors: dict[Any, _Visitor] = {}
        self._dawdling: dict[Any, _Visitor] = {}
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), _Handler)
        self.set_app(make_wsgi_app(registry))

    def server_bind(self) -> None:
        """Binds, without a look-up of this machine's name, which waits where no name server answers."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hands a connection to a thread; where none is free, who has dawdled for a moment goes."""
        while not self._room.acquire(timeout=_MOMENT_SECONDS):
            self.service_actions()
            self._send_away(self._dawdling, _MOMENT_SECONDS)
        visitor = _Visitor(request, client_address)
        with self._lock:
            self._dawdling[client_address] = self._visitors[client_address] = visitor
        self._admitted.put(visitor)

    def asked(self, client_address: Any) -> None:
        """Notes that a visitor has sent a whole request."""
        with self._lock:
            self._dawdling.pop(client_address, None)

    def serve_visitors(self) -> None:
        """Serves one visitor after the other, for ever; each thread that runs it serves another."""
        while True:
            self._serve(self._admitted.get())

    def _serve(self, visitor: _Visitor) -> None:
        try:
            self._shake_hands(visitor)
            if self._allowed(visitor.connection):
                self.finish_request(visitor.connection, visitor.address)
        except Exception:  # noqa: BLE001, S110 - it was silent, sent away, or is gone
            pass
        finally:
            self.shutdown_request(visitor.connection)
            with self._lock:
                self._dawdling.pop(visitor.address, None)
                self._visitors.pop(visitor.address, None)
            self._room.release()

    def _shake_hands(self, visitor: _Visitor) -> None:
        if self._certificates is None:
            return
        visitor.connection.settimeout(_SILENCE_SECONDS)
        visitor.connection = wrapped = self._certificates.server_context().wrap_socket(
            visitor.connection, server_side=True, do_handshake_on_connect=False
        )
        wrapped.do_handshake()

    def _allowed(self, connection: Any) -> bool:
        """Returns whether a caller is answered: where there is TLS, who scrapes, and the service itself."""
        if self._certificates is None:
            return True
        allowed = (Role.MONITOR, self._certificates.current.role)
        return self._certificates.role_of_peer(connection.getpeercert()) in allowed

    def service_actions(self) -> None:
        """Sends those away who have been here for too long: a byte now and then is not silence."""
        self._send_away(self._visitors, _WHOLE_SECONDS)

    def _send_away(self, visitors: Mapping[Any, _Visitor], after_seconds: float) -> None:
        before = time.monotonic() - after_seconds
        with self._lock:
            late = [one for one in visitors.values() if one.came < before]
        for one in late:
            one.send_away()


def start(
    registry: CollectorRegistry, host: str, port: int, certificates: Certificates | None = None
) -> None:
    """Serves /metrics in the background until the process ends.

    Args:
        registry: the metrics.
        host, port: where to.
        certificates: of this process: metrics are encrypted, and for who scrapes alone; None: for everybody.

    Raises:
        OSError: if the port is taken.
    """
    server = _Server(registry, host, port, certificates)
    work = [server.serve_forever, *[server.serve_visitors] * _VISITORS]
    for number, one in enumerate(work):
        threading.Thread(target=one, name=f"metrics {number}", daemon=True).start()
