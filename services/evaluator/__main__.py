"""Runs the evaluator: `python -P -m services.evaluator`, settings from the environment."""

from __future__ import annotations

import asyncio
import sys

from blindsight.errors import BlindsightError


async def _serve() -> None:
    # Workers import this module too; they need none of this.
    from functools import partial

    from blindsight.runtime import host as processes
    from blindsight.runtime import logs
    from blindsight.runtime import processpool as workers
    from blindsight.runtime.metrics import serve as serve_metrics
    from blindsight.runtime.server import Service, check_bind
    from blindsight.runtime.shutdown import Shutdown
    from services.evaluator import metrics, servicer
    from services.evaluator.service import running
    from services.evaluator.settings import EvaluatorSettings
    from services.evaluator.storage_client import StorageClient

    workers.end_on_sigterm()
    processes.keep_messages()
    settings = EvaluatorSettings.from_environment()
    logs.configure("evaluator", level=settings.log_level)
    if settings.die_with_parent:
        workers.die_with_parent()
    check_bind(settings.address, insecure=settings.insecure)  # before the workers compile
    serve_metrics(metrics.REGISTRY, settings)
    storage = StorageClient(settings.storage_address, *settings.connection)
    try:
        async with running(settings, storage) as evaluator:
            service = Service(
                [servicer.NAME],
                partial(servicer.register, evaluator),
                settings.keepalive_seconds,
                load=evaluator.load if settings.preload else None,
            )
            shutdown = Shutdown(settings.drain_seconds)
            await service.run(settings.address, shutdown, insecure=settings.insecure)
    finally:
        await storage.close()


def main() -> int:
    """Serves until it is told to stop; returns the exit code."""
    try:
        asyncio.run(_serve())
    except (BlindsightError, OSError) as error:
        sys.stderr.write(f"blindsight evaluator: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
