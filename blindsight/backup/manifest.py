"""The contents of a backup: `manifest.json`, written last, so a folder without one is not a backup.

    {"manifest": {"format": 1, "version": "0.1.0", "created_unix_seconds": ..., "files": [...]},
     "sha256": of the manifest's canonical JSON}

The digests detect damage.  They do not detect forgery, as anybody can compute them; data that must not be
exchanged is sealed, and does not open if it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blindsight.backup.parts import MANIFEST_NAME
from blindsight.errors import DataLoss, InvalidArgument, NotFound

FORMAT = 1
_MAX_BYTES = 1 << 24
_HEX_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a backup.

    Attributes:
        path: path in the backup, `SERVICE/FILE`, or with folders between the two.
        zone: "trusted" or "untrusted".
        size_bytes: exact size.
        sha256: in hex.
        schema_version: schema version of a database; None for other files.
        counts: numbers of what a database holds, by name.
    """

    path: str
    zone: str
    size_bytes: int
    sha256: str
    schema_version: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a whole backup.

    Attributes:
        version: version of the program that wrote it.
        created_unix_seconds: time of the snapshot.
        files: its files, each once.
    """

    version: str
    created_unix_seconds: int
    files: tuple[Entry, ...]

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(entry.size_bytes for entry in self.files)

    def count(self, name: str) -> int:
        """Returns the sum of a count over all databases."""
        return sum(entry.counts.get(name, 0) for entry in self.files)

    def encode(self) -> bytes:
        """Returns the bytes of `manifest.json`."""
        content = {"format": FORMAT, **asdict(self)}
        document = {"manifest": content, "sha256": _digest(content)}
        return json.dumps(document, indent=1).encode() + b"\n"


def read(folder: Path) -> Manifest:
    """Reads a backup's manifest.

    Raises:
        NotFound: if there is none.
        DataLoss: if it is damaged.
        InvalidArgument: if it is of another format, such as that of a newer version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file() or path.is_symlink():
        raise NotFound(f"{folder} has no {MANIFEST_NAME}: it is not a backup, or one that was not finished")
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    try:
        document = json.loads(data)
        content = document["manifest"]
        if document["sha256"] != _digest(content):
            raise ValueError("digest")
        found = int(content["format"])
        if found == FORMAT:
            return _manifest(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataLoss(f"{path} is damaged") from error
    raise InvalidArgument(f"{folder} is a backup of format {found}, this program knows {FORMAT}")


def _manifest(content: dict[str, Any]) -> Manifest:
    entries = tuple(Entry(**entry) for entry in content["files"])
    if len({entry.path for entry in entries}) != len(entries) or not all(map(_fits, entries)):
        raise ValueError("files")
    return Manifest(str(content["version"]), int(content["created_unix_seconds"]), entries)


def _fits(entry: Entry) -> bool:
    texts: tuple[object, ...] = (entry.path, entry.zone, entry.sha256)
    numbers: tuple[object, ...] = (entry.size_bytes, entry.schema_version or 0, *entry.counts.values())
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) and number >= 0 for number in numbers)
        and len(entry.sha256) == _HEX_DIGITS
    )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
