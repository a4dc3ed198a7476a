"""The `blindsight` command: a thin layer over the SDK, and `up`, which runs the three services.

Standard output carries answers only (with --json one document), standard error the progress and
one line for an error.  Exit codes: 0 success, 1 failure, 2 wrong usage, 3 an answer was refused,
130 Ctrl-C, 141 nobody reads the answer.
"""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Runs the command with the arguments of this process, and exits."""
    # gRPC's native library writes to standard error by itself, and reads this variable when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot encode must not fail
    from blindsight.cli import app
    from blindsight.runtime.leaving import leave

    leave(lambda: app.run(sys.argv[1:]))
