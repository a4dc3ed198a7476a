"""The clients of `examples`, run as their readers run them: packages from their lock, real services."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.photos import jpeg, small_photo
from support.photos import photo as scene
from support.services import Services

import blindsight
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS = 240


def run(
    *command: str | Path, folder: Path, services: Services | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder, for a client of services with the owner's token."""
    token = services.folder / "keyholder" / OWNER_TOKEN_FILE if services is not None else ""
    return subprocess.run(
        command,
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        env={**os.environ, "BLINDSIGHT_TOKEN_FILE": str(token)},
    )


def lacking(message: str) -> None:
    """Skips the test; where CI is set, it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of examples/node beside the contract, with its packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        lacking("no node or no npm: apt-get install nodejs npm")
    root = tmp_path_factory.mktemp("examples")
    ignore = shutil.ignore_patterns("node_modules")
    shutil.copytree(ROOT / "examples" / "node", root / "examples" / "node", ignore=ignore)
    (root / "protos").symlink_to(ROOT / "protos")
    folder = root / "examples" / "node"
    installed = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
    if installed.returncode:
        lacking(f"npm installed no packages: {installed.stderr[-500:]}")
    return folder


def test_the_script_in_python_keeps_finds_changes_and_deletes(services: Services, tmp_path: Path) -> None:
    for name in ("coffee", "rocket", "chelsea"):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(name))
        scene(name).rotate(2).save(tmp_path / f"{name}-turned.jpg")
    script = ROOT / "examples" / "python" / "photos.py"
    environment = {**os.environ, "BLINDSIGHT_ADDRESS": services.address()}
    for stored in (6, 0):
        done = subprocess.run(
            (sys.executable, script, tmp_path),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0] == f"{stored} stored, {6 - stored} were there"
        assert lines[1].endswith(".jpg")
        assert float(lines[1].split()[0]) > 0.5
        assert lines[4].startswith("the favourite is ")
        assert lines[4].endswith("; 7 photos have no time")
        assert lines[5].startswith(f"most alike in {tmp_path}: ")
    with blindsight.connect(services.address()) as vault:
        assert vault.collection("trips").count() == 6


@pytest.mark.timeout(INSTALL_SECONDS + 120)
def test_the_client_in_javascript_stores_finds_and_fetches(
    services: Services, node: Path, tmp_path: Path
) -> None:
    photos = [tmp_path / f"{number}.png" for number in range(3)]
    for number, photo in enumerate(photos):
        photo.write_bytes(small_photo(number))
    command = ("node", "client.js", services.address(), "from node")
    first = run(*command, *photos, folder=node, services=services)
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines[:3]] == ["OUTCOME_STORED"] * 3
    assert lines[3] == "1.0000 0.png"
    assert lines[-1] == f"original of 0.png: {len(small_photo(0))} bytes, image/png"
    with blindsight.connect(services.address()) as vault:
        album = vault.collection("from node")
        assert {item.id for item in album.items()} == {line.split()[-1] for line in lines[:3]}
        assert album.get(lines[0].split()[-1]).data == small_photo(0)
    again = run(*command, photos[1], folder=node, services=services)
    assert again.stdout.startswith(
        f"{photos[1]}: OUTCOME_DUPLICATE as {lines[1].split()[-1]}\n1.0000 1.png\n"
    )


@pytest.mark.timeout(INSTALL_SECONDS + 120)
def test_the_client_in_javascript_says_why_it_cannot(services: Services, node: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    command = ("node", "client.js", services.address(), " of spaces ", tmp_path / "empty.png")
    refused = run(*command, folder=node, services=services)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "want" in refused.stderr


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client in Java, compiled as its README says; no test installs a toolchain for it."""
    jars = Path("/usr/share/java/grpc-netty.jar")
    needed = ("java", "javac", "protoc", "grpc_java_plugin")
    if missing := [one for one in needed if shutil.which(one) is None] + (
        [] if jars.exists() else [str(jars)]
    ):
        pytest.skip(f"not installed here: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("java")
    (folder / "made").mkdir()
    contract = ROOT / "protos" / "blindsight" / "keyholder" / "v1"
    generated = run(
        *("protoc", "-I", ROOT / "protos", "--java_out=made", "--grpc-java_out=made"),
        f"--plugin=protoc-gen-grpc-java={shutil.which('grpc_java_plugin')}",
        *(contract / "keyholder.proto", contract / "common.proto"),
        folder=folder,
    )
    assert generated.returncode == 0, generated.stderr
    sources = [*(folder / "made").rglob("*.java"), ROOT / "examples" / "java" / "Client.java"]
    compiled = run("javac", "-cp", "/usr/share/java/*", "-d", "out", *sources, folder=folder)
    assert compiled.returncode == 0, compiled.stderr
    return folder


@pytest.mark.timeout(INSTALL_SECONDS + 120)
def test_the_client_in_java_stores_finds_and_fetches(services: Services, java: Path, tmp_path: Path) -> None:
    photos = [tmp_path / f"{number}.png" for number in range(3)]
    for number, photo in enumerate(photos):
        photo.write_bytes(small_photo(number))
    client = ("java", "-cp", "out:/usr/share/java/*", "Client", services.address(), "from java")
    done = run(*client, *photos, folder=java, services=services)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines[:3]] == ["OUTCOME_STORED"] * 3
    assert lines[3] == "1.0000 0.png"
    assert lines[-1] == f"original of 0.png: {len(small_photo(0))} bytes, image/png"
    again = run(*client, photos[1], folder=java, services=services)
    assert again.stdout.startswith(f"{photos[1]}: OUTCOME_DUPLICATE as {lines[1].split()[-1]}\n")
