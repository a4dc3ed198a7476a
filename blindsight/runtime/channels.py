"""gRPC options of both ends of a connection: message sizes, and when a silent peer counts as lost.

A peer may go silent without closing its connections: an unplugged cable, a firewall, a proxy that stops
forwarding.  A call would then wait for ever, and hold its resources.  So an end that hears nothing while a
call runs sends an HTTP/2 ping.  gRPC's core answers pings by itself, so a peer that computes for minutes
stays connected.
"""

from __future__ import annotations

from blindsight.runtime.limits import USUAL, Limits
from blindsight.runtime.transfer import MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES

# Longer than a busy machine or a lost packet delays a ping, and shorter than a caller is willing to wait.
KEEPALIVE_SECONDS = 30.0
LEAST_KEEPALIVE_SECONDS, MOST_KEEPALIVE_SECONDS = 1.0, 86_400.0
_CONNECT_SECONDS = 5.0
# The fraction of the keepalive time that passes before a ping is sent; the rest is for its answer.
_BEFORE_PING = 2 / 3
# Servers close connections that ping more often than this: half the interval of the shortest setting.
_LEAST_PING_SECONDS = LEAST_KEEPALIVE_SECONDS * _BEFORE_PING / 2
# A connection without calls is closed after this; its client opens another for its next call.
_UNUSED_SECONDS = 1800.0
# A token of OIDC with room beside it; gRPC's own limit, without chance between a soft and a hard one.
_METADATA_BYTES = 16 << 10
# Calls that run when a connection gets so old end as they are, however long they take.
_AGE_SECONDS = 3600.0

Options = list[tuple[str, int | str]]


def _sizes(receive_bytes: int, send_bytes: int) -> Options:
    return [
        ("grpc.max_receive_message_length", receive_bytes),
        ("grpc.max_send_message_length", send_bytes),
    ]


def _keepalive(seconds: float) -> Options:
    return [
        ("grpc.keepalive_time_ms", _milliseconds(seconds * _BEFORE_PING)),
        ("grpc.keepalive_timeout_ms", _milliseconds(seconds * (1 - _BEFORE_PING))),
        # gRPC's core really waits this long for a ping's answer: by default a minute, whatever is set above.
        ("grpc.http2.ping_timeout_ms", _milliseconds(seconds * (1 - _BEFORE_PING))),
        # No pings on an idle connection: the next call notices if it is lost.
        ("grpc.keepalive_permit_without_calls", 0),
        # While the peer computes there is nothing else to send; the default stops after two pings.
        ("grpc.http2.max_pings_without_data", 0),
    ]


def client_options(
    keepalive_seconds: float = KEEPALIVE_SECONDS, answer_bytes: int = MAX_MESSAGE_BYTES
) -> Options:
    """Returns the options of a channel.

    Args:
        keepalive_seconds: how long a server may be silent, pings included, before it counts as lost.
        answer_bytes: largest message that the server may send; it is held in memory.
    """
    return [
        *_sizes(answer_bytes, MAX_MESSAGE_BYTES),
        *_keepalive(keepalive_seconds),
        # A server that restarts must be found again at once, not after a minute of backoff.
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Despite its name this is gRPC's timeout of one attempt to connect, which is slow on a busy machine.
        ("grpc.min_reconnect_backoff_ms", _milliseconds(_CONNECT_SECONDS)),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # A web proxy of the environment must not carry this traffic.
        ("grpc.enable_http_proxy", 0),
    ]


def server_options(
    keepalive_seconds: float = KEEPALIVE_SECONDS, *, known: bool = False, limits: Limits = USUAL
) -> Options:
    """Returns the options of a server.

    Args:
        keepalive_seconds: how long a client may be silent, pings included, before it counts as lost.
        known: whether clients show certificates, which they must do again for new calls after an hour.
        limits: those that gRPC's core keeps.
    """
    return [
        *([("grpc.max_connection_age_ms", _milliseconds(_AGE_SECONDS))] if known else []),
        *_sizes(MAX_MESSAGE_BYTES, MAX_ANSWER_BYTES),
        *_keepalive(keepalive_seconds),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.calls_per_caller),
        ("grpc.server_handshake_timeout_ms", _milliseconds(limits.handshake_seconds)),
        ("grpc.max_connection_idle_ms", _milliseconds(_UNUSED_SECONDS)),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
        # By default gRPC allows a ping every five minutes, and ends all calls at the third that is too early.
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(_LEAST_PING_SECONDS)),
        # Two servers on one port would share its calls at random.
        ("grpc.so_reuseport", 0),
    ]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
