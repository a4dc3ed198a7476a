"""How much a server takes from its callers at once, and how long it waits for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server; services/README.md tells them as settings.

    Attributes:
        connections: at each address that the server listens at; gRPC's core closes others at once.
        connections_per_peer: of one address of callers, see `connections`.
        calls: at once, until their answers are taken.
        calls_per_caller: of these, of the bearer of one token or certificate; of who shows neither, of one
            address.  One connection carries no more either.
        handshake_seconds: for TLS, and HTTP/2's first words.
        stall_seconds: for a caller to send more, of a call that has done nothing yet.
        idle_seconds: for a caller to take an answer, or to send more of what is used as it comes.
    """

    connections: int = 1024
    connections_per_peer: int = 256
    calls: int = 2048
    calls_per_caller: int = 1024
    handshake_seconds: float = 20.0
    stall_seconds: float = 60.0
    idle_seconds: float = 600.0


USUAL = Limits()
