"""Generates the gRPC stubs, for the build (a hatch hook) and by hand: ``python protos/hatch_build.py``.

``blindsight/<area>/v1/<area>.proto`` becomes ``blindsight/rpc/<area>/v1/<area>_pb2.py``,
``_pb2_grpc.py`` and their ``.pyi``. The stubs are never committed: the contract is their only source.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CONTRACTS = Path(__file__).resolve().parent / "blindsight"
MARKER = '"""Generated from protos/: edit the contract, not this."""\n'

# Where the contracts are for protoc, so that the stubs import each other as blindsight.rpc.*
VIRTUAL = "blindsight/rpc"


class StubsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Generates the stubs before a wheel or an editable install is built."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generates the stubs: for an editable install in the source tree, else as files of the wheel."""
        if version == "editable":
            generate(CONTRACTS.parents[1])
        else:
            self._made = tempfile.TemporaryDirectory(prefix="blindsight-rpc-")
            generate(Path(self._made.name))
            build_data["force_include"][f"{self._made.name}/{VIRTUAL}"] = VIRTUAL

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Removes the temporary stubs, once the wheel is written."""
        if version != "editable":
            self._made.cleanup()


def generate(root: Path) -> int:
    """Generates ``blindsight/rpc`` in a folder; returns the number of contracts.

    The finished tree replaces the old one at the very end: a broken contract leaves the old stubs as they
    were, and the stubs of a removed contract disappear.
    """
    contracts = sorted(CONTRACTS.rglob("*.proto"))
    target = root / VIRTUAL
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rpc-", dir=root) as scratch:
        fresh = Path(scratch) / VIRTUAL
        fresh.mkdir(parents=True)
        _run_protoc(_moved(contracts, Path(scratch) / "contracts"), Path(scratch))
        for folder in [fresh, *(path for path in fresh.rglob("*") if path.is_dir())]:
            (folder / "__init__.py").write_text(MARKER)
        if target.exists():
            target.rename(Path(scratch) / "previous")
        fresh.rename(target)
    return len(contracts)


def _moved(contracts: list[Path], folder: Path) -> list[Path]:
    """Copies the contracts to where their stubs belong in a folder, where their imports find each other."""
    moved = [folder / VIRTUAL / path.relative_to(CONTRACTS) for path in contracts]
    for path, copy in zip(contracts, moved, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text().replace('import "blindsight/', f'import "{VIRTUAL}/'))
    return moved


def _run_protoc(contracts: list[Path], out: Path) -> None:
    from grpc_tools import protoc

    arguments = [
        "protoc",
        f"-I{out / 'contracts'}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--plugin=protoc-gen-mypy={_plugin('protoc-gen-mypy')}",
        f"--plugin=protoc-gen-mypy_grpc={_plugin('protoc-gen-mypy_grpc')}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *map(str, contracts),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused the contract; see its message above")


def _plugin(name: str) -> str:
    """Finds a protoc plugin beside this interpreter, or on PATH (where an isolated build puts it)."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        raise SystemExit(f"{name} not found: install mypy-protobuf beside {sys.executable}")
    return found


if __name__ == "__main__":
    print(f"{VIRTUAL}: stubs of {generate(CONTRACTS.parents[1])} contracts")
