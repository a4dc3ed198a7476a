"""What both ends of a gRPC connection are told: the size of messages, and when a silent peer is lost.

A peer may go silent without closing its connections: a cable, a firewall, a proxy that forwards nothing
more.  Then a call would wait for ever, with whatever it holds.  So whoever hears nothing while a call runs
sends an HTTP/2 ping.  gRPC's core answers pings by itself: a peer that computes for minutes stays connected.
"""

from __future__ import annotations

from blindsight.runtime.transfer import MAX_MESSAGE_BYTES

# Longer than a busy machine or a lost packet keeps a ping, and shorter than whoever waits is ready to.
KEEPALIVE_SECONDS = 30.0
LEAST_KEEPALIVE_SECONDS, MOST_KEEPALIVE_SECONDS = 1.0, 86_400.0
_CONNECT_SECONDS = 5.0
# Of that silence this much goes by before a ping is sent; the rest is for the answer.
_BEFORE_PING = 2 / 3
# Servers refuse who pings more often: half of what the least setting of a peer leads to.
_LEAST_PING_SECONDS = LEAST_KEEPALIVE_SECONDS * _BEFORE_PING / 2

Options = list[tuple[str, int]]

_SIZES: Options = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


def _keepalive(seconds: float) -> Options:
    return [
        ("grpc.keepalive_time_ms", _milliseconds(seconds * _BEFORE_PING)),
        ("grpc.keepalive_timeout_ms", _milliseconds(seconds * (1 - _BEFORE_PING))),
        # What gRPC's core really waits for a ping's answer: without it a minute, whatever stands above.
        ("grpc.http2.ping_timeout_ms", _milliseconds(seconds * (1 - _BEFORE_PING))),
        # An idle connection need not be kept: the next call finds out.
        ("grpc.keepalive_permit_without_calls", 0),
        # While the peer computes there is nothing else to send; the default stops after two pings.
        ("grpc.http2.max_pings_without_data", 0),
    ]


def client_options(keepalive_seconds: float = KEEPALIVE_SECONDS) -> Options:
    """Of a channel.

    Args:
        keepalive_seconds: a server that says nothing for so long, not even to a ping, is lost.
    """
    return [
        *_SIZES,
        *_keepalive(keepalive_seconds),
        # A server that restarts must be found again at once, not after a minute of back-off.
        ("grpc.initial_reconnect_backoff_ms", 100),
        # What gRPC's core gives an attempt to connect, whatever it is called: a busy machine takes its time.
        ("grpc.min_reconnect_backoff_ms", _milliseconds(_CONNECT_SECONDS)),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # A proxy that the environment names for the web has no business with what is sent here.
        ("grpc.enable_http_proxy", 0),
    ]


def server_options(keepalive_seconds: float = KEEPALIVE_SECONDS) -> Options:
    """Of a server.

    Args:
        keepalive_seconds: a client that says nothing for so long, not even to a ping, is lost.
    """
    return [
        *_SIZES,
        *_keepalive(keepalive_seconds),
        # By default a ping every five minutes is allowed, and the third that comes sooner ends all calls.
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(_LEAST_PING_SECONDS)),
        # Two servers on one port would share its calls at random.
        ("grpc.so_reuseport", 0),
    ]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
