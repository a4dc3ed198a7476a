"""Processes of worker pools, as tests see them from outside."""

from __future__ import annotations

import psutil


def pool_workers(process: psutil.Process) -> list[psutil.Process]:
    """The workers of a process's pools, which its fork servers forked, in the order of their start."""
    forked = [worker for server in process.children() for worker in server.children()]
    alive = [one for one in forked if one.status() != psutil.STATUS_ZOMBIE]
    return sorted(alive, key=lambda one: (one.create_time(), one.pid))
