"""Settings of the evaluator, from the environment."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from blindsight.runtime.host import cores
from blindsight.runtime.settings import Address, ServiceSettings


class EvaluatorSettings(ServiceSettings):
    """See `ServiceSettings` for the rest.

    Attributes:
        storage_address: where storage serves, HOST:PORT.
        cache_bytes: of galleries on disk; over it, the least recently used go.
        preload: whether a start loads galleries before it is ready; else each is loaded by its first search.
        workers: processes that build galleries, one 500,000 vectors of 128 values a second, and that compute
            weighted sums and filters.
        combine_seconds: a weighted sum that takes longer is given up.
        transform_seconds: a filter or a difference of planes that takes longer is given up.
        threads: of the kernel, in the one process that scores.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="BLINDSIGHT_EVALUATOR_")

    storage_address: Address
    cache_bytes: int = Field(default=16 << 30, ge=0)
    preload: bool = True
    workers: int = Field(default_factory=lambda: min(2, cores()), ge=1)
    combine_seconds: float = Field(default=600.0, gt=0)
    transform_seconds: float = Field(default=600.0, gt=0)
    threads: int = Field(default_factory=cores, ge=1)
