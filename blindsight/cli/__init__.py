"""The `blindsight` command: a thin face of the SDK, and `up`, which runs the three services.

Standard output carries answers only (with --json one document), standard error the progress and
one line for an error.  Exit codes: 0 done, 1 it failed, 2 it was asked wrongly, 130 Ctrl-C.
"""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Entry point of the command."""
    # gRPC's native half writes to standard error by itself; it is silenced before it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show ends no command
    from blindsight.cli import app

    sys.exit(app.run(sys.argv[1:]))
