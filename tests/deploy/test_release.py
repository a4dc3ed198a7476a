"""What a release says of what it is made of: every package of every image, by hash, and every licence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.wheels import ROOT, plain
from support.wheels import locked as locked_here

BIN = Path(sys.executable).parent
SERVICES = ("keyholder", "worker", "evaluator", "storage")
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)([^\n]*\n(?:    --hash=[^\n]*\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    subprocess.run(
        [ROOT / "tools" / "release", BIN, folder], cwd=ROOT, check=True, capture_output=True, timeout=300
    )
    return folder


def locked(service: str) -> dict[str, tuple[str, set[str]]]:
    """Version and hashes of each package of an image."""
    text = (ROOT / "requirements" / f"{service}.lock").read_text()
    found = {
        plain(name): (version, set(re.findall(r"sha256:([0-9a-f]{64})", rest)))
        for name, version, rest in PIN.findall(text)
    }
    assert len(found) == len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)) > 10
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_the_list_of_an_image_has_every_package_of_its_lock_with_its_hashes(
    release: Path, service: str
) -> None:
    made = json.loads((release / f"blindsight-{service}.cdx.json").read_text())
    assert made["bomFormat"] == "CycloneDX"
    assert made["metadata"]["component"]["name"] == f"blindsight-vault-{service}"
    listed = {
        plain(one["name"]): (
            one["version"],
            {digest["content"] for reference in one["externalReferences"] for digest in reference["hashes"]},
        )
        for one in made["components"]
    }
    assert listed == locked(service)


def test_notice_has_the_licence_of_every_package_of_every_image(release: Path) -> None:
    notice = (release / "NOTICE").read_text()
    listed = {
        plain(name) for name in re.findall(r"^([\w.-]+) \S+: \S", notice.partition("## All")[2], re.MULTILINE)
    }
    assert not {name for service in SERVICES for name in locked_here(service)} - listed
    assert "UNKNOWN" not in notice


def test_notice_names_what_is_under_a_licence_that_asks_for_more(release: Path) -> None:
    copyleft = (release / "NOTICE").read_text().partition("## Copyleft")[2].partition("## All")[0]
    assert re.search(r"^gmpy2 \S+: LGPL-3.0-or-later$", copyleft, re.MULTILINE)
    for library in ("libgmp", "libmpfr", "libmpc"):
        assert re.search(rf"^{library}\.so\S*, in the wheel of gmpy2 \S+: LGPL", copyleft, re.MULTILINE)
    assert re.search(
        r"^libavcodec\S*, in the wheel of opencv-python-headless \S+: LGPL", copyleft, re.MULTILINE
    )
