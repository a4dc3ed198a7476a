"""Asks a service whether it is ready.

    python -P -m blindsight.runtime.health HOST:PORT [liveness | metrics] [--tls FOLDER]

FOLDER is that of the service's own certificate.  `metrics` asks for /metrics: a worker serves nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindsight.errors import CertificateError, InvalidArgument, Unavailable
from blindsight.runtime.channels import client_options
from blindsight.runtime.leaving import leave
from blindsight.runtime.roles import Role
from blindsight.runtime.tls import Certificates, channel_credentials, channel_options

ANSWER_SECONDS = 5.0
# Names of health checks.  Liveness: the process answers; if it does not, only a restart helps.
# Readiness, which the empty name and the names of the proto services stand for too: it accepts work.
LIVENESS, READINESS = "liveness", "readiness"
_METRICS, _TLS = "metrics", "--tls"


def require_serving(
    address: str, name: str = READINESS, tls: Path | None = None, role: Role | None = None
) -> None:
    """Checks that the service at HOST:PORT serves.

    Args:
        name: "readiness", "liveness", or the full name of a proto service.
        tls: folder of a certificate, which is shown to it; None: unencrypted.
        role: the service's; None: that of the certificate.

    Raises:
        Unavailable: if nothing answers within 5 seconds, or the service is not ready: it starts or stops.
        CertificateError: see `Certificates`.
    """
    with _channel(address, tls, role) as channel:
        try:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
            answer = check(health_pb2.HealthCheckRequest(service=name), timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise Unavailable(f"{address} does not answer: {error.code().name}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise Unavailable(f"{address} answers {status}, want SERVING")


def require_metrics(address: str, tls: Path | None = None) -> None:
    """Checks that metrics are served at HOST:PORT; arguments and errors as of `require_serving`."""
    context = Certificates(tls).client_context() if tls is not None else None
    if context is not None:
        context.check_hostname = False  # by an address
    try:
        # Not by a proxy of the environment.
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
        opener.open(f"http{'s' if context else ''}://{address}/metrics", timeout=ANSWER_SECONDS).close()
    except (OSError, HTTPException) as error:
        raise Unavailable(f"{address} serves no metrics: {type(error).__name__}") from error


def _channel(address: str, tls: Path | None, role: Role | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address, options=client_options())
    own = Certificates(tls).current
    options = [*client_options(), *channel_options(role or own.role)]
    return grpc.secure_channel(address, channel_credentials(own), options=options)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 if the service serves, 1 with one line on standard error if not."""
    names, tls = list(arguments), None
    try:
        if names[-2:-1] == [_TLS]:
            *names, _, folder = names
            tls = Path(folder)
        if not 1 <= len(names) <= 2 or _TLS in names:
            wanted = f"HOST:PORT, liveness, readiness or metrics, and {_TLS} FOLDER"
            raise InvalidArgument(f"{len(arguments)} arguments, want {wanted}")
        if names[1:] == [_METRICS]:
            require_metrics(names[0], tls)
        else:
            require_serving(names[0], names[1] if len(names) > 1 else READINESS, tls)
    except (InvalidArgument, Unavailable, CertificateError) as error:
        sys.stderr.write(f"blindsight health: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    leave(lambda: main(sys.argv[1:]))
