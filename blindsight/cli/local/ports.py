"""The ports of `blindsight up`: free ones, and which service serves its metrics where."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from blindsight.cli.local.fleet import worker_name
from blindsight.errors import InvalidArgument, Unavailable

# Where services serve /metrics, whatever --host is, and their ports from --metrics-port on.
METRICS_HOST = "127.0.0.1"
_METRICS_ORDER = ("keyholder", "evaluator", "storage")
_LAST_PORT = 65535


def metrics_ports(first: int, taken: int, workers: int) -> dict[str, int]:
    """The port of the metrics of each service and worker; none at all for 0.

    Raises:
        InvalidArgument: when there are not so many ports, or the keyholder itself is to serve at one of them.
    """
    if not first:
        return {}
    names = (*_METRICS_ORDER, *(worker_name(number) for number in range(1, workers + 1)))
    ports = {name: first + offset for offset, name in enumerate(names)}
    last = max(ports.values())
    if last > _LAST_PORT:
        raise InvalidArgument(
            f"--metrics-port {first} takes {first} to {last}, want ports up to {_LAST_PORT}"
        )
    if taken in ports.values():
        raise InvalidArgument(
            f"--metrics-port {first} takes {first} to {last}, of which --port is {taken}; want others"
        )
    return ports


def check_free(host: str, port: int) -> None:
    """Says that a port is taken before anything is started for it."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from None


def metrics_url(of_metrics: Mapping[str, int], name: str) -> str | None:
    """Where a service or worker serves its metrics; None when it does not."""
    port = of_metrics.get(name)
    return None if port is None else f"http://{METRICS_HOST}:{port}/metrics"
