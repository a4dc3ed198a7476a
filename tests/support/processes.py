"""Processes of worker pools, as tests see them from outside."""

from __future__ import annotations

from contextlib import suppress

import psutil


def pool_workers(process: psutil.Process) -> list[psutil.Process]:
    """The workers of a process's pools, which its fork servers forked, in the order of their start."""
    found = []
    for server in process.children():
        for worker in server.children():
            # What was forked, and has started no other program, has the command line of its parent.
            with suppress(psutil.Error):
                if worker.status() != psutil.STATUS_ZOMBIE and worker.cmdline() == server.cmdline():
                    found.append(worker)
    return sorted(found, key=lambda one: (one.create_time(), one.pid))
