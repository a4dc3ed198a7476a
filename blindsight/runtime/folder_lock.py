from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blindsight.errors import Unavailable


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Keeps a data folder for this process; the kernel lets go of it however the process ends.

    Raises:
        Unavailable: when another process has the folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"folder {folder} is in use by another storage process") from error
        yield
