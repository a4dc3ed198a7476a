"""A process that has all imported that a worker needs, and becomes one again and again: worker_template.py.

It reads a line of JSON for each, the worker's environment, and forks; what the worker prints comes out here.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from blindsight.runtime.signals import die_with_parent
from services.worker.__main__ import main


def serve() -> None:
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.environ.update(json.loads(line))
            os._exit(main())


if __name__ == "__main__":
    serve()
