"""The ports of `blindsight up`: checks that they are free, and the services' metrics ports."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping

from blindsight.cli.local.fleet import worker_name
from blindsight.errors import InvalidArgument, Unavailable

# Host of /metrics regardless of --host, and the services in the order of their ports from --metrics-port.
METRICS_HOST = "127.0.0.1"
_METRICS_ORDER = ("keyholder", "evaluator", "storage")
_LAST_PORT = 65535


def metrics_ports(
    first: int, taken: Iterable[int], services: Collection[str], workers: int
) -> dict[str, int]:
    """Returns the metrics port of each service and worker, from `first` on; an empty mapping if that is 0.

    Args:
        first: the first port, or 0.
        taken: ports that services are given themselves.
        services: names of those that run.
        workers: number of workers.

    Raises:
        InvalidArgument: if there are not enough ports up to 65535, or one of them is taken.
    """
    if not first:
        return {}
    running = (name for name in _METRICS_ORDER if name in services)
    names = (*running, *(worker_name(number) for number in range(1, workers + 1)))
    ports = {name: first + offset for offset, name in enumerate(names)}
    last = max(ports.values())
    if last > _LAST_PORT:
        raise InvalidArgument(
            f"--metrics-port {first} takes {first} to {last}, want ports up to {_LAST_PORT}"
        )
    for one in taken:
        if one in ports.values():
            raise InvalidArgument(
                f"--metrics-port {first} takes {first} to {last}, of which --port is {one}; want others"
            )
    return ports


def check_free(host: str, port: int) -> None:
    """Checks that a port is free, before anything is started.

    Raises:
        InvalidArgument: if the host is no name.
        Unavailable: if it is not free, or the host cannot be used.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except UnicodeError:
        raise InvalidArgument(f"host {host!r:.80}, want the name of a machine or its address") from None
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from None


def metrics_url(of_metrics: Mapping[str, int], name: str) -> str | None:
    """Returns the URL of a service's or worker's metrics; None if it serves none."""
    port = of_metrics.get(name)
    return None if port is None else f"http://{METRICS_HOST}:{port}/metrics"
