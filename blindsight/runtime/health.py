"""Asks a service whether it is ready: `python -P -m blindsight.runtime.health HOST:PORT [liveness]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindsight.errors import InvalidArgument, Unavailable
from blindsight.runtime.channels import client_options
from blindsight.runtime.leaving import leave

ANSWER_SECONDS = 5.0
# Names of health checks.  Liveness: the process answers; if it does not, only a restart helps.
# Readiness, which the empty name and the names of the proto services stand for too: it accepts work.
LIVENESS, READINESS = "liveness", "readiness"


def require_serving(address: str, name: str = READINESS) -> None:
    """Checks that the service at HOST:PORT serves.

    Args:
        name: "readiness", "liveness", or the full name of a proto service.

    Raises:
        Unavailable: if nothing answers within 5 seconds, or the service is not ready: it starts or stops.
    """
    with grpc.insecure_channel(address, options=client_options()) as channel:
        try:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
            answer = check(health_pb2.HealthCheckRequest(service=name), timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise Unavailable(f"{address} does not answer: {error.code().name}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise Unavailable(f"{address} answers {status}, want SERVING")


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 if the service serves, 1 with one line on standard error if not."""
    try:
        if not 1 <= len(arguments) <= 2:
            raise InvalidArgument(f"{len(arguments)} arguments, want HOST:PORT, and liveness or readiness")
        require_serving(*arguments)
    except (InvalidArgument, Unavailable) as error:
        sys.stderr.write(f"blindsight health: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
