"""Runs the evaluator: `python -P -m services.evaluator`, settings from the environment."""

from __future__ import annotations

from functools import partial

from blindsight.runtime import host, service
from blindsight.runtime.leaving import leave
from services.evaluator import servicer
from services.evaluator.metrics import REGISTRY
from services.evaluator.service import running
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.storage_client import StorageClient


def main() -> int:
    """Serves until it is told to stop; returns the exit code."""
    return service.run(
        "evaluator", EvaluatorSettings, _serve, registry=REGISTRY, keep_memory=host.keep_messages
    )


async def _serve(settings: EvaluatorSettings) -> None:
    storage = StorageClient(settings.storage_address, settings.connection)
    try:
        async with running(settings, storage) as evaluator:
            register = partial(servicer.register, evaluator)
            load = evaluator.load if settings.preload else None
            await service.serve(settings, [servicer.NAME], register, load=load)
    finally:
        await storage.close()


if __name__ == "__main__":
    leave(main)
