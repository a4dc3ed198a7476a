"""The HTTP server of /metrics."""

from __future__ import annotations

import socket
import threading
from socketserver import TCPServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from blindsight.runtime.roles import Role
from blindsight.runtime.tls import Certificates

# Scrapes at a time.  One takes milliseconds, and Prometheus makes one at a time.
_THREADS = 2
# A connection that sends or takes nothing for so long is closed.
_SILENCE_SECONDS = 2.0


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Logs nothing."""


class _Server(WSGIServer):
    """Serves one connection after the other in each thread that runs it; the rest wait.

    prometheus_client's own server keeps a thread for every connection, for as long as a client likes.
    """

    def __init__(
        self, registry: CollectorRegistry, host: str, port: int, certificates: Certificates | None
    ) -> None:
        self._certificates = certificates
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), _Handler)
        self.set_app(make_wsgi_app(registry))

    def server_bind(self) -> None:
        """Binds, without a look-up of this machine's name, which waits where no name server answers."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Takes a connection, and shakes hands where there is TLS; an OSError ends that connection alone."""
        raw, address = super().get_request()
        if self._certificates is None:
            return raw, address
        raw.settimeout(_SILENCE_SECONDS)
        return self._certificates.server_context().wrap_socket(raw, server_side=True), address

    def verify_request(self, request: Any, _: Any) -> bool:
        """Returns whether a caller is answered: where there is TLS, who scrapes, and the service itself."""
        if self._certificates is None:
            return True
        allowed = (Role.MONITOR, self._certificates.current.role)
        return self._certificates.role_of_peer(request.getpeercert()) in allowed

    def handle_error(self, request: object, client_address: object) -> None:
        """Does nothing: a client was silent, or is gone."""


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
    for number in range(_THREADS):
        threading.Thread(target=server.serve_forever, name=f"metrics {number}", daemon=True).start()
