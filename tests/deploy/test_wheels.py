"""Our distributions as they are installed: each part alone, and all together on one machine."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support import photos, wheels
from support.command import FEW_WORKERS
from support.wheels import OURS, PARTS, ROOT, Environment

import blindsight
from blindsight.cli.compare.baselines import programs
from blindsight.cli.compare.baselines.programs import BASELINES, Baseline

PROJECTS = {path: tomllib.loads((path / "pyproject.toml").read_text())["project"] for path in PARTS}
NAMES = {project["name"]: path for path, project in PROJECTS.items()}
SERVICES = ("keyholder", "worker", "evaluator", "storage")
UNTRUSTED = ("evaluator", "storage")
TRUSTED_CODE = {
    "blindsight.cli", "blindsight.client", "blindsight.trusted", "services.keyholder", "services.worker",
}  # fmt: skip
OTHERS = {
    "keyholder": {"blindsight.cli", "blindsight.client", "services.evaluator", "services.storage"},
    "worker": {"blindsight.cli", "blindsight.client", "services.evaluator", "services.storage"},
    "evaluator": TRUSTED_CODE | {"services.storage"},
    "storage": TRUSTED_CODE | {"services.evaluator"},
}
NOBODY = "127.0.0.1:1"

_IMPORT_ALL = """
import importlib, pkgutil, sys

service, *strangers = sys.argv[1:]
rooms = [f"services.{service}"] + ["blindsight.trusted"] * (service in ("keyholder", "worker"))
for room in rooms:
    package = importlib.import_module(room)
    names = [one.name for one in pkgutil.walk_packages(package.__path__, f"{room}.")]
    assert f"{room}.__main__" in names or room == "blindsight.trusted"
    for name in [*names, "blindsight.runtime.health"]:
        assert importlib.import_module(name).__file__.startswith(sys.prefix), name
for name in strangers:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name == name, error
    else:
        raise AssertionError(f"{service} can import {name}")
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def whole(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install 'blindsight-vault[all]'`."""
    made = Environment(tmp_path_factory.mktemp("whole"), dist)
    came = made.install_all_of(f"{OURS}[all]")
    assert set(NAMES) <= came
    return made


@pytest.fixture(scope="module")
def alone(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install blindsight-vault`, on a machine that only asks a keyholder."""
    made = Environment(tmp_path_factory.mktemp("alone"), dist)
    made.install_all_of(OURS)
    return made


def test_each_part_has_a_wheel_and_sources_of_the_one_version(dist: Path) -> None:
    made = {path.name for path in dist.iterdir() if path.name != ".gitignore"}
    stems = [f"{name.replace('-', '_')}-{blindsight.__version__}" for name in NAMES]
    assert made == {f"{stem}{end}" for stem in stems for end in ("-py3-none-any.whl", ".tar.gz")}


def test_each_part_asks_for_the_others_in_its_own_version() -> None:
    for name, path in NAMES.items():
        project = PROJECTS[path]
        groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
        ours = [line for group in groups for line in group if line.startswith(OURS)]
        assert all(line.endswith(f"=={blindsight.__version__}") for line in ours), f"{name}: {ours}"


def test_every_file_of_the_source_tree_is_in_one_wheel_and_no_wheel_has_anything_else(dist: Path) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "blindsight", "services"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a clone: what belongs to the source tree cannot be asked")
    tree = [
        name
        for name in listed.stdout.split()
        if Path(name).name not in ("README.md", "pyproject.toml") and (ROOT / name).exists()
    ]
    held = []
    for wheel in dist.glob("*.whl"):
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names), wheel.name
        held += [name for name in names if ".dist-info/" not in name and "/rpc/" not in name]
    assert sorted(held) == sorted(tree)


def test_sources_hold_no_generated_stub(dist: Path) -> None:
    for sources in dist.glob("*.tar.gz"):
        with tarfile.open(sources) as opened:
            assert not [name for name in opened.getnames() if "_pb2" in name], sources.name


def test_every_message_that_says_what_to_install_names_a_distribution_and_an_extra_of_ours() -> None:
    said = []
    for path in [*ROOT.glob("*.md"), *ROOT.glob("[ds]*/**/*.md"), *ROOT.glob("blindsight/**/*.py")]:
        said += re.findall(r"pip install '?([a-z][\w-]*)\b(?!/)(?:\[([\w,{}]+)\])?", path.read_text())
    assert {name for name, _ in said} >= {OURS, f"{OURS}-library", f"{OURS}-trusted"}
    for name, extras in said:
        known = PROJECTS[NAMES[name]].get("optional-dependencies", {})
        assert not extras or set(extras.split(",")) <= {*known, "{_EXTRA}"}, f"{name}[{extras}]"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_on_its_wheel_and_what_that_asks_for_which_its_lock_has(
    service: str, dist: Path, tmp_path: Path
) -> None:
    made = Environment(tmp_path / "environment", dist)
    came = made.install_all_of(f"{OURS}-{service}")
    theirs = {name for name in came if not name.startswith(OURS)}
    assert theirs <= wheels.locked(service)
    extras = wheels.locked(service) - theirs
    of_the_trusted = set() if service in UNTRUSTED else {"opencv-python-headless", "pika"}
    assert extras == of_the_trusted | ({"pyjwt"} if service == "keyholder" else set())
    assert (f"{OURS}-trusted" in came) == (service not in UNTRUSTED)
    made.link(*extras)
    done = made.run("python", "-P", "-c", _IMPORT_ALL, service, *OTHERS[service])
    assert done.returncode == 0, done.stderr
    program = made.run(f"blindsight-{service}")
    assert re.search(rf"BLINDSIGHT_{service.upper()}_\w+: not set", program.stderr), program


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("collection", "list"),
        ("jobs", "list"),
        ("ingest", "photos", "photo.jpg"),
        ("ingest", "photos", "photo.jpg", "--bulk"),
        ("search", "photos", "photo.jpg"),
        ("get", "photos", "an id", "-o", "photo"),
        ("diff", "photo.jpg", "photo.jpg", "-o", "picture.png"),
        ("filter", "photo.jpg", "--op", "gaussian:5", "-o", "picture.png"),
        ("match", "photo.jpg", "photo.jpg", "-o", "picture.png"),
    ],
    ids=" ".join,
)
def test_a_command_that_asks_a_keyholder_needs_no_extra(
    arguments: tuple[str, ...], alone: Environment
) -> None:
    (alone.folder / "photo.jpg").write_bytes(photos.jpeg("chelsea"))
    done = alone.run("blindsight", *arguments, BLINDSIGHT_ADDRESS=NOBODY)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"no keyholder answers at {NOBODY}" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("up", "--data", "vault"), ("keys", "create", "-o", "own.bsky", "--passphrase-file", "secret")],
    ids=" ".join,
)
def test_a_command_that_runs_services_says_what_to_install(
    arguments: tuple[str, ...], alone: Environment
) -> None:
    (alone.folder / "secret").write_text("correct horse battery staple")
    done = alone.run("blindsight", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "is not installed: pip install 'blindsight-vault[all]'" in done.stderr
    assert not list(alone.folder.rglob("*.bsky"))


@pytest.mark.timeout(300)  # the kernel is compiled anew
def test_all_wheels_in_a_fresh_environment_run_a_vault_that_finds_a_photo(whole: Environment) -> None:
    given = whole.folder / "photos"
    given.mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        (given / f"{name}.jpg").write_bytes(photos.jpeg(name))
    command = [whole.folder / "bin" / "blindsight", "up", "--data", "vault", "--port", "0", "--json"]
    with subprocess.Popen(
        command,
        cwd=whole.folder,
        env=wheels.KEPT | FEW_WORKERS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as up:
        try:
            assert up.stdout is not None
            there = {"BLINDSIGHT_ADDRESS": json.loads(up.stdout.readline())["address"]}
            for arguments in (
                ("collection", "create", "holiday"),
                ("ingest", "holiday", "photos"),
                ("collection", "create", "shown", "--embedder", "sift"),  # needs OpenCV, which [all] brings
            ):
                done = whole.run("blindsight", *arguments, **there)
                assert done.returncode == 0, done.stderr
            found = whole.run(
                "blindsight", "search", "holiday", "photos/coffee.jpg", "-k", "1", "--json", **there
            )
            assert found.returncode == 0, found.stderr
            assert '"coffee.jpg"' in found.stdout
            saved = whole.run("blindsight", "backup", "saved", "--data", "vault", **there)
            assert saved.returncode == 0, saved.stderr
            assert (whole.folder / "saved" / "storage" / "storage.sqlite3").exists()
        finally:
            up.terminate()
    assert up.returncode == 0


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_the_programs_that_compare_schemes_starts_are_in_a_wheel(
    baseline: Baseline, whole: Environment
) -> None:
    pixels = np.random.default_rng(1).integers(0, 4, (2, 3, 64), np.uint8)
    np.savez(whole.folder / "sample.npz", gallery=pixels, queries=pixels[:1], pairs=[(0, 0), (0, 1)])
    program, *rest = baseline.arguments
    done = whole.run("python", "-P", "-m", f"{programs.__package__}.{program}", "sample.npz", *rest)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])["answer"]
    assert [score["image"] for score in answer["scores"]] == [0, 1]
    assert answer["scores"][0]["channels"] == pytest.approx([1, 1, 1], abs=0.01)
