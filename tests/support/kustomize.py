"""Renders deploy/k8s by kubectl where it is there, and by what of kustomize is used there anywhere else."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "k8s"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """All manifests of an overlay."""
    return by_kubectl(overlay) or by_hand(overlay)


def by_kubectl(overlay: str) -> tuple[Manifest, ...]:
    """As kubectl makes them; none where it is not there."""
    if shutil.which("kubectl") is None:
        return ()
    command = ["kubectl", "kustomize", FOLDER / "overlays" / overlay]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def by_hand(overlay: str) -> tuple[Manifest, ...]:
    """The same, without kubectl; a kustomization with more than is known here is refused."""
    return tuple(_built(FOLDER / "overlays" / overlay))


def _built(folder: Path) -> list[Manifest]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: list[Manifest] = []
    for name in kustomization.pop("resources"):
        path = folder / name
        found += _built(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for patch in kustomization.pop("patches", []):
        found = _patched(found, patch, folder)
    for label in kustomization.pop("labels", []):
        for manifest in found:
            manifest["metadata"].setdefault("labels", {}).update(label["pairs"])
    for image in kustomization.pop("images", []):
        for container in (one for manifest in found for one in containers(manifest)):
            if container["image"] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"
    assert kustomization.keys() == {"apiVersion", "kind"}, f"not known here: {kustomization}"
    return found


def _patched(found: list[Manifest], patch: dict[str, Any], folder: Path) -> list[Manifest]:
    text = patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text()
    content = yaml.safe_load(text)
    if isinstance(content, dict):
        assert content["$patch"] == "delete", content
        return [manifest for manifest in found if not _matches(manifest, patch["target"])]
    for manifest in found:
        if _matches(manifest, patch["target"]):
            for operation in content:
                _apply(manifest, **copy.deepcopy(operation))
    return found


def _matches(manifest: Manifest, target: dict[str, str]) -> bool:
    target = dict(target)
    key, _, value = target.pop("labelSelector", "").partition("=")
    name, kind = target.pop("name", ".*"), target.pop("kind", ".*")
    assert not target, f"not known here: {target}"
    return (
        bool(re.fullmatch(kind, manifest["kind"]))
        and bool(re.fullmatch(name, manifest["metadata"]["name"]))
        and (not key or manifest["metadata"].get("labels", {}).get(key) == value)
    )


def _apply(manifest: Manifest, op: str, path: str, value: Any) -> None:
    *way, last = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
    place: Any = manifest
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if isinstance(place, list):
        assert (op, last) == ("add", "-"), f"not known here: {op} {path}"
        place.append(value)
    else:
        assert op == "add" or last in place, f"{path} is not there to be replaced"
        place[last] = value


def pod(manifest: Manifest) -> dict[str, Any] | None:
    """The pod of a workload."""
    return manifest["spec"]["template"]["spec"] if manifest["kind"] in {"StatefulSet", "Deployment"} else None


def containers(manifest: Manifest) -> list[dict[str, Any]]:
    """All containers of a manifest."""
    found = pod(manifest)
    return [] if found is None else [*found.get("initContainers", []), *found["containers"]]
