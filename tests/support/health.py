"""The health check of a container's runtime, as a process of its own."""

from __future__ import annotations

import subprocess
import sys


def health(*arguments: str) -> tuple[int, str]:
    """Its exit code, and its one line."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "blindsight.runtime.health", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.strip()
