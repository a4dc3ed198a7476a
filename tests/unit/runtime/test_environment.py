"""What a service starts does not inherit what the service is set to, which may hold a password."""

import os
import subprocess
import sys

SERVICE = """
import os
from pathlib import Path
from prometheus_client import CollectorRegistry
from pydantic_settings import SettingsConfigDict
from support.worker_tasks import COMPUTE, Call
from blindsight.runtime import service
from blindsight.runtime.processpool import WorkerPool
from blindsight.runtime.settings import ProcessSettings

class Settings(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="BLINDSIGHT_WORKER_", extra="forbid", frozen=True)
    queue_url: str

async def work(settings):
    pool = WorkerPool(1, COMPUTE)
    worker, server = await pool.run(Call.of(os.getpid)), await pool.run(Call.of(os.getppid))
    for process in (os.getpid(), server, worker):
        print("a password" in Path(f"/proc/{process}/environ").read_text(), flush=True)
    print(settings.queue_url)
    pool.close()

raise SystemExit(
    service.run("worker", Settings, work, registry=CollectorRegistry(), keep_memory=lambda: None)
)
"""


def test_a_worker_process_does_not_inherit_a_password() -> None:
    environment = {
        **os.environ,
        "BLINDSIGHT_WORKER_QUEUE_URL": "amqp://somebody:a password@host",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", SERVICE]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.stdout.split("\n")[:4], ran.returncode) == (
        ["True", "False", "False", "amqp://somebody:a password@host"],
        0,
    ), ran.stderr
