"""What tests of backups share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path


def files(folder: Path) -> set[str]:
    """All that lies below a folder and is not a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def interrupting(at: int) -> Callable[[int, int], None]:
    """Somebody who presses Ctrl-C when told of a step for the so many'th time."""
    reports = 0

    def report(_done: int, _total: int) -> None:
        nonlocal reports
        reports += 1
        if reports == at:
            raise KeyboardInterrupt

    return report


def rewrite(folder: Path, change: Callable[[dict], None]) -> None:
    """Changes a manifest as somebody does who knows how it is made: its digest is right."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())["manifest"]
    change(content)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    path.write_text(json.dumps({"manifest": content, "sha256": hashlib.sha256(canonical).hexdigest()}))


def admit(folder: Path, name: str) -> None:
    """Makes the manifest say what a file is now."""
    data = (folder / name).read_bytes()

    def change(content: dict) -> None:
        (entry,) = (one for one in content["files"] if one["path"] == name)
        entry.update(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    rewrite(folder, change)
