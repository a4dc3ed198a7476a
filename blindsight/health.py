"""Asks a service whether it serves: `python -m blindsight.health HOST:PORT`, for images without curl."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindsight.connections import client_options
from blindsight.errors import InvalidArgument, Unavailable

ANSWER_SECONDS = 5.0


def require_serving(address: str) -> None:
    """Returns when the service at HOST:PORT says that it serves.

    Raises:
        Unavailable: when nothing answers in 5 seconds, or what answers is starting or stopping.
    """
    with grpc.insecure_channel(address, options=client_options()) as channel:
        try:
            check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
            answer = check(health_pb2.HealthCheckRequest(), timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise Unavailable(f"{address} does not answer: {error.code().name}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise Unavailable(f"{address} answers {status}, want SERVING")


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 when it serves, 1 with one line when it does not."""
    try:
        if len(arguments) != 1:
            raise InvalidArgument(f"{len(arguments)} arguments, want one: HOST:PORT")
        require_serving(arguments[0])
    except (InvalidArgument, Unavailable) as error:
        sys.stderr.write(f"blindsight health: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
