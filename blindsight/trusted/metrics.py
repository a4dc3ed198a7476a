"""What keyholder and workers measure alike, each under names of its own."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter, Histogram


@dataclass(frozen=True, slots=True)
class CryptoMetrics:
    """What the worker processes of `Crypto` are measured by.

    Attributes:
        embed: time to describe one photo, by embedder.
        encrypt: time to encrypt, by scheme and parameter set.
        restarts: worker processes that died and were replaced.
        decrypt: time to decrypt, by scheme and parameter set; None of a worker, which decrypts nothing.
    """

    embed: Histogram
    encrypt: Histogram
    restarts: Counter
    decrypt: Histogram | None = None
