"""What runs on a data folder: which process, and how it is stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blindsight.errors import InvalidArgument, Unavailable
from blindsight.runtime.folder_lock import locked

FILE_NAME = "up.json"
# Each of four processes may take fifteen seconds to drain.
STOP_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


@contextmanager
def told(data: Path) -> Iterator[None]:
    """Tells in the data folder, which the caller has locked, that this process runs, while the block does."""
    place = data / FILE_NAME
    place.unlink(missing_ok=True)
    place.write_text(json.dumps({"process_id": os.getpid()}), encoding="utf-8")
    try:
        yield
    finally:
        place.unlink(missing_ok=True)


def stop(data: Path) -> bool:
    """Stops what runs on a data folder, and waits until it has ended; returns whether something ran.

    Raises:
        InvalidArgument: if there is no such folder.
        Unavailable: if it has only begun to start, or does not end in two minutes.
    """
    if not data.is_dir():
        raise InvalidArgument(f"{data} is no folder, want that of `blindsight up --data`")
    if not _is_locked(data):
        return False
    process = _process(data)
    if process is None:
        raise Unavailable(f"what runs on {data} has only begun to start; try again")
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _is_locked(data):
        if time.monotonic() > deadline:
            raise Unavailable(f"process {process} was asked to stop {STOP_SECONDS:g} s ago, and still runs")
        time.sleep(_PAUSE_SECONDS)
    return True


def _is_locked(data: Path) -> bool:
    try:
        with locked(data, "", folder=True):
            return False
    except Unavailable:
        return True


def _process(data: Path) -> int | None:
    """Returns the id of the process that holds the lock; None if it has not told it."""
    try:
        process = int(json.loads((data / FILE_NAME).read_text(encoding="utf-8"))["process_id"])
        held = [one.stat() for one in Path(f"/proc/{process}/fd").iterdir()]
    except (OSError, ValueError, KeyError):
        return None
    # A number that was written long ago may be another process's by now.
    return process if any(os.path.samestat(one, data.stat()) for one in held) else None
