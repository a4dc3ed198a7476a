"""Sidecar files: what is said of a photo, as a JSON object of metadata in a file beside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from blindsight.errors import InvalidArgument

if TYPE_CHECKING:
    from blindsight.wire.metadata import Value

SUFFIX = ".json"
# More than the most metadata take, however they are written.
MOST_BYTES = 1 << 20


def beside(path: Path) -> Path | None:
    """Returns the sidecar file of a photo; None if it has none.

    That of `a.jpg` is `a.jpg.json`, else `a.json`, which other files called `a` may share.  Whatever is
    called so counts, also what `read` refuses: a photo is not stored without what is said of it.
    """
    if path.suffix == SUFFIX:
        return None  # it would be its own
    own = path.with_name(path.name + SUFFIX)
    return next((one for one in (own, path.with_suffix(SUFFIX)) if os.path.lexists(one)), None)


def read(path: Path) -> dict[str, Value]:
    """Returns the metadata in a sidecar file.

    Raises:
        InvalidArgument: if it cannot be read, or does not hold a JSON object of metadata; names the file.
    """
    from blindsight.wire.metadata import from_json, loads  # imported late: most photos come without

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe could block for ever
            raise InvalidArgument("a folder or no regular file, want a JSON object of metadata")
        with path.open("rb") as file:
            written = file.read(MOST_BYTES + 1)
        if len(written) > MOST_BYTES:
            raise InvalidArgument(f"more than {MOST_BYTES:,} bytes, want a JSON object of metadata")
        found = loads(written)
        if not isinstance(found, dict):
            raise InvalidArgument(
                f"JSON of another kind ({type(found).__name__}), want an object of metadata"
            )
        return from_json(found)
    except OSError as error:
        why = "a link to nothing" if path.is_symlink() else error.strerror
        raise InvalidArgument(f"{path.name}: cannot be read: {why}") from None
    except (ValueError, RecursionError):
        raise InvalidArgument(f"{path.name}: not JSON, want an object of metadata") from None
    except InvalidArgument as error:
        raise InvalidArgument(f"{path.name}: {error.message}") from None
