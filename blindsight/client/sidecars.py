"""Sidecar files: what is said of a photo, as a JSON object of metadata in a file beside it."""

from __future__ import annotations

import json
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

    That of `a.jpg` is `a.jpg.json`, else `a.json`, which other files called `a` may share.
    """
    if path.suffix == SUFFIX:
        return None  # it would be its own
    own = path.with_name(path.name + SUFFIX)
    return next((one for one in (own, path.with_suffix(SUFFIX)) if _is_file(one)), None)


def read(path: Path) -> dict[str, Value]:
    """Returns the metadata in a sidecar file.

    Raises:
        InvalidArgument: if it cannot be read, or does not hold a JSON object of metadata; names the file.
    """
    from blindsight.wire.metadata import from_json  # imported late: most photos come without

    try:
        with path.open("rb") as file:
            written = file.read(MOST_BYTES + 1)
        if len(written) > MOST_BYTES:
            raise InvalidArgument(f"more than {MOST_BYTES:,} bytes, want a JSON object of metadata")
        found = json.loads(written)
        if not isinstance(found, dict):
            raise InvalidArgument(
                f"JSON of another kind ({type(found).__name__}), want an object of metadata"
            )
        return from_json(found)
    except OSError as error:
        raise InvalidArgument(f"{path.name}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InvalidArgument(f"{path.name}: not JSON, want an object of metadata") from None
    except InvalidArgument as error:
        raise InvalidArgument(f"{path.name}: {error.message}") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False
