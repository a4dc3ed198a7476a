"""Backups of the data folder of a single service, for containers, which have no `blindsight` command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from blindsight.backup.checking import check
from blindsight.backup.manifest import Manifest
from blindsight.backup.parts import Service, kept_by
from blindsight.backup.restoring import restore
from blindsight.backup.saving import save
from blindsight.errors import BlindsightError, InvalidArgument


def main(service: Service, arguments: Sequence[str]) -> int:
    """Saves, verifies or restores; prints the manifest as JSON.

    The data folder is BLINDSIGHT_<SERVICE>_DATA, as for the service itself.

    Returns:
        The exit code: 0, or 1 with one line on standard error if it failed.
    """
    try:
        print(json.dumps(asdict(_done(service, arguments))))  # noqa: T201
    except BlindsightError as error:
        sys.stderr.write(f"blindsight {service.name} backup: {error}\n")
        return 1
    return 0


def _done(service: Service, arguments: Sequence[str]) -> Manifest:
    if len(arguments) != 2:
        raise InvalidArgument("want save DIR, verify DIR or restore DIR")
    action, folder = arguments[0], Path(arguments[1])
    variable = f"BLINDSIGHT_{service.name.upper()}_DATA"
    data = os.environ.get(variable)
    if action == "verify":
        return check(folder, kept_by(service, Path(), [folder]))
    if data is None:
        raise InvalidArgument(f"no data folder, want {variable}")
    if action == "save":
        return save(kept_by(service, Path(data)), folder)
    if action == "restore":
        return restore([folder], kept_by(service, Path(data), [folder]), Path(data))[0]
    raise InvalidArgument(f"cannot {action}, want save, verify or restore")
