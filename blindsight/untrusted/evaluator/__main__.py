"""Runs the evaluator: python -m blindsight.untrusted.evaluator."""

from __future__ import annotations

import asyncio
import sys

from blindsight.errors import BlindsightError


async def _serve() -> None:
    # Workers import this module too; they need none of this.
    from functools import partial

    from blindsight import logs, metrics, processes, workers
    from blindsight.server import Service, check_bind
    from blindsight.shutdown import Shutdown
    from blindsight.untrusted.evaluator import servicer
    from blindsight.untrusted.evaluator.peers import StorageClient
    from blindsight.untrusted.evaluator.service import running
    from blindsight.untrusted.evaluator.settings import EvaluatorSettings

    workers.end_on_sigterm()
    processes.keep_messages()
    settings = EvaluatorSettings.from_environment()
    logs.configure("evaluator", level=settings.log_level)
    if settings.die_with_parent:
        workers.die_with_parent()
    check_bind(settings.address, insecure=settings.insecure)  # before the workers compile
    metrics.serve(metrics.EVALUATOR, settings)
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
