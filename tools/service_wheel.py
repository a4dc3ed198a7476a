"""Makes the wheel of one service out of the whole one: `tools/service_wheel.py SERVICE WHEEL FOLDER`.

An image holds its own zone's code and what all share: what is not in it, nobody who breaks in can run.
Images are built with it, so it needs nothing but Python.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

_TRUSTED = (
    "blindsight/trusted",
    "blindsight/client",
    "blindsight/cli",
    "blindsight/rpc/keyholder",
    "services/keyholder",
    "services/worker",
)

# The worker runs what the keyholder runs.
LEFT_OUT = {
    "keyholder": ("services/evaluator", "services/storage"),
    "evaluator": (*_TRUSTED, "services/storage"),
    "storage": (*_TRUSTED, "services/evaluator", "blindsight/rpc/evaluator"),
}


def belongs(service: str, name: str) -> bool:
    """Whether a file of the whole wheel is one of this service's."""
    left_out = LEFT_OUT[service]
    if name.endswith(".dist-info/entry_points.txt"):
        return "blindsight/cli" not in left_out  # it starts the command
    return not name.startswith(tuple(f"{folder}/" for folder in left_out))


def prune(service: str, wheel: Path, folder: Path) -> Path:
    """Writes the service's wheel into a folder, under the same name; returns its path."""
    target = folder / wheel.name
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as part:
        (record,) = (name for name in whole.namelist() if name.endswith(".dist-info/RECORD"))
        for entry in whole.infolist():
            if entry.filename != record and belongs(service, entry.filename):
                content = whole.read(entry)
                part.writestr(entry, content)
                rows.append(f"{entry.filename},sha256={_digest(content)},{len(content)}\n")
        part.writestr(record, "".join([*rows, f"{record},,\n"]))
    return target


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if len(arguments) != 3 or arguments[0] not in LEFT_OUT:
        sys.stderr.write(f"want SERVICE WHEEL FOLDER, with a service of {', '.join(LEFT_OUT)}\n")
        return 2
    prune(arguments[0], Path(arguments[1]), Path(arguments[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
