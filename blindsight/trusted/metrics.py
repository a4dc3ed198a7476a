"""Metrics that the keyholder and the workers have in common, each under its own names."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter, Histogram


@dataclass(frozen=True, slots=True)
class CryptoMetrics:
    """Metrics of the worker processes of `Crypto`.

    Attributes:
        embed: time to compute one photo's vector, by embedder.
        encrypt: time to encrypt, by scheme and parameter set.
        restarts: worker processes that died and were replaced.
        decrypt: time to decrypt, by scheme and parameter set; None in a worker, which decrypts nothing.
    """

    embed: Histogram
    encrypt: Histogram
    restarts: Counter
    decrypt: Histogram | None = None
