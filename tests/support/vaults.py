"""Settings of collections, as a writer of the trusted zone makes them."""

from __future__ import annotations

from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.vault.settings import new_config


def vectors_config(name: str, dimension: int) -> CollectionConfig:
    """Settings of a collection of vectors under CKKS."""
    return new_config(
        name,
        scheme="ckks",
        parameter_set="",
        embedder="none",
        dimension=dimension,
        metric=None,
        expected_size=1000,
        max_norm=1.0,
    )
