"""What the images are built from: each holds its own zone's code, and the packages that this code needs."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
OURS = {"blindsight", "services"}
SERVICES = ("keyholder", "evaluator", "storage")
TRUSTED = {
    "blindsight/trusted",
    "blindsight/client",
    "blindsight/cli",
    "blindsight/rpc/keyholder",
    "services/keyholder",
    "services/worker",
}
FOREIGN = {
    "keyholder": {"services/evaluator", "services/storage"},
    "evaluator": {*TRUSTED, "services/storage"},
    "storage": {*TRUSTED, "services/evaluator", "blindsight/rpc/evaluator"},
}
# Of the trusted zone and the command.
UNKNOWN_TO_UNTRUSTED = {"pillow", "tenseal", "cryptography", "scikit-image", "typer", "rich", "pika"}

# Imports all of a zone, where nothing can be imported that the lock does not have.
_IMPORT_ALL = """
import importlib, json, pkgutil, sys

site, missing = sys.argv[1], set(json.loads(sys.argv[2]))

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.path.insert(0, site)
import services

services.__path__ = [f"{site}/services"]
names = [one.name for one in pkgutil.walk_packages(services.__path__, "services.")]
for name in [*names, "blindsight.runtime.health"]:
    assert importlib.import_module(name).__file__.startswith(site)
    print(name)
"""


def pinned(lock: str) -> dict[str, str]:
    """Packages and versions of a lock."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole wheel, built from a copy: a build writes the stubs anew."""
    source = tmp_path_factory.mktemp("source")
    for name in ("blindsight", "services", "protos"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (made,) = (source / "dist").glob("*.whl")
    return made


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def part(wheel: Path, service: str, tmp_path: Path) -> Path:
    """A service's wheel, made as the Dockerfile makes it."""
    assert f"python3 service_wheel.py {service} whole/*.whl part" in DOCKERFILE
    tool = ROOT / "tools" / "service_wheel.py"
    subprocess.run([sys.executable, "-I", tool, service, wheel, tmp_path / "part"], check=True)
    return tmp_path / "part" / wheel.name


def test_a_service_s_wheel_holds_no_code_of_another_zone(part: Path, service: str) -> None:
    names = zipfile.ZipFile(part).namelist()
    assert f"services/{service}/__main__.py" in names
    for folder in FOREIGN[service]:
        assert not [name for name in names if name.startswith(f"{folder}/")]
    command = [name for name in names if name.endswith("entry_points.txt")]
    assert bool(command) == (service == "keyholder")


def test_a_service_s_wheel_lists_what_it_holds(part: Path) -> None:
    opened = zipfile.ZipFile(part)
    (record,) = (name for name in opened.namelist() if name.endswith("/RECORD"))
    rows = list(csv.reader(opened.read(record).decode().splitlines()))
    assert sorted(row[0] for row in rows) == sorted(opened.namelist())
    assert all(int(size) == len(opened.read(name)) for name, _, size in rows if name != record)


def test_a_service_s_wheel_runs_with_what_its_lock_has(part: Path, service: str, tmp_path: Path) -> None:
    locked = set(pinned(service))
    missing = [
        module
        for module, owners in packages_distributions().items()
        if module not in OURS and not locked & {re.sub(r"[-_.]+", "-", owner.lower()) for owner in owners}
    ]
    assert {"pytest", "lightphe"} <= set(missing)
    zipfile.ZipFile(part).extractall(tmp_path / "site")
    command = [sys.executable, "-I", "-c", _IMPORT_ALL, tmp_path / "site", json.dumps(missing)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert {f"services.{service}.__main__", "blindsight.runtime.health"} <= set(done.stdout.split())


def test_the_untrusted_locks_have_nothing_of_the_trusted_zone() -> None:
    for name in ("evaluator", "storage"):
        assert not set(pinned(name)) & UNKNOWN_TO_UNTRUSTED
    assert not set(pinned("storage")) & {"numpy", "numba", "llvmlite", "gmpy2"}
    assert {"tenseal", "cryptography", "pillow"} <= set(pinned("keyholder"))


@pytest.mark.parametrize("lock", [*SERVICES, "build"])
def test_the_locks_agree_and_every_package_has_a_hash(lock: str) -> None:
    tested = pinned("dev")
    assert {name: tested.get(name, version) for name, version in pinned(lock).items()} == pinned(lock)
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pinned(lock))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_build_lock_has_what_the_build_requires() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {re.split(r"[<>=]", one)[0] for one in required} <= set(pinned("build"))


def test_each_image_runs_as_nobody_in_particular_and_serves_as_its_first_process() -> None:
    runtime, *_ = DOCKERFILE.partition("# --- the results")[0].split("AS runtime")[1:]
    assert "USER 10001:10001" in runtime
    results = DOCKERFILE.partition("# --- the results")[2]
    assert "USER" not in results
    entry = r'AS (\w+)\n(?:.*\n)*?ENTRYPOINT \["python", "-P", "-m", "([\w.]+)"\]'
    modules = dict(re.findall(entry, results))
    assert modules == {
        "keyholder": "services.keyholder",
        "worker": "services.worker",
        "evaluator": "services.evaluator",
        "storage": "services.storage",
    }
    assert results.count("HEALTHCHECK") == len(SERVICES)


def test_only_what_the_dockerfile_copies_is_sent_to_the_daemon() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied
    for path in copied:
        assert any(path == one or path.startswith(f"{one}/") for one in allowed), path
        assert (ROOT / path).exists(), path
