"""The dashboards that are deployed, and what their panels ask Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
# What Grafana puts in for its own variables; the data of tests are seconds old.
_ITS_OWN = {"$__rate_interval": "20s", "$__range": "5m"}


@dataclass(frozen=True)
class Query:
    """One question of one panel, with every variable filled in."""

    panel: str
    expression: str


def load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def queries(dashboard: dict[str, Any]) -> Iterator[Query]:
    """What the panels ask; once for each value of a variable that lists its own, "all" for the others."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            for expression in _filled(target["expr"], dashboard["templating"]["list"]):
                yield Query(f"{dashboard['title']} / {panel['title']} / {target['refId']}", expression)


def _filled(expression: str, variables: list[dict[str, Any]]) -> Iterator[str]:
    for name, value in _ITS_OWN.items():
        expression = expression.replace(name, value)
    filled = [expression]
    for variable in variables:
        values = variable["query"].split(",") if variable["type"] == "custom" else [".*"]
        pattern = re.compile(rf"\$(?:{{{variable['name']}}}|{variable['name']}\b)")
        filled = [pattern.sub(value, one) for one in filled for value in values]
    yield from dict.fromkeys(filled)
