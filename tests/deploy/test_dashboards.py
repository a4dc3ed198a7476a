"""The dashboards are Grafana's, are laid out well, and leave no metric out."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.dashboards import DEPLOY, FILES, load, queries
from support.metrics import CATALOGUE

RULES = "\n".join(path.read_text() for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"))
RECORDED = set(re.findall(r"- record: (\S+)", RULES))
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
METRIC = re.compile(r"(?:blindsight|grpc_server)_[a-z_]+")


@pytest.fixture(scope="module", autouse=True)
def grafana() -> None:
    register_default_plugins()


def in_grafanas_words(dashboard: dict[str, Any]) -> dict[str, Any]:
    """What remains of a dashboard after Grafana's own model of its schema read it."""
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def lost(written: Any, read: Any, where: str = "") -> list[str]:
    """Where something that is written is not what was read."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [one for key in written for one in lost(written[key], read.get(key), f"{where}.{key}")]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = zip(written, read, strict=True)
        return [one for place, pair in enumerate(pairs) for one in lost(*pair, f"{where}[{place}]")]
    return [] if written == read else [where]


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    return {
        (x, y)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    }


def test_there_are_dashboards_for_all_that_an_operator_looks_at() -> None:
    assert [file.stem for file in FILES] == ["ingest", "latency", "overview", "privacy"]
    assert len({load(file)["uid"] for file in FILES}) == len(FILES)


def test_the_files_are_what_their_generator_writes() -> None:
    source = Path(__file__).parents[2] / "tools" / "dashboards.py"
    specification = importlib.util.spec_from_file_location("dashboards", source)
    assert specification is not None
    assert specification.loader is not None
    generator = importlib.util.module_from_spec(specification)
    sys.modules["dashboards"] = generator  # its dataclasses look themselves up
    specification.loader.exec_module(generator)
    assert {file.stem: file.read_text() for file in FILES} == {
        name: generator.text(name) for name in generator.DASHBOARDS
    }


@EVERY_FILE
def test_grafanas_own_schema_knows_every_field(file: Path) -> None:
    dashboard = load(file)
    assert lost(dashboard, in_grafanas_words(dashboard)) == []


def test_a_field_that_the_schema_does_not_know_would_be_found() -> None:
    dashboard = load(FILES[0])
    dashboard["panels"][1]["fieldConfig"]["defaults"]["custom"]["fillOpacty"] = 5
    assert lost(dashboard, in_grafanas_words(dashboard)) != []


@EVERY_FILE
def test_panels_fill_the_grid_without_overlap_or_gap(file: Path) -> None:
    panels = load(file)["panels"]
    covered = [cell for panel in panels for cell in cells(panel)]
    height = max(y for _, y in covered) + 1
    assert len(covered) == len(set(covered))
    assert set(covered) == {(x, y) for x in range(24) for y in range(height)}


@EVERY_FILE
def test_panels_have_ids_and_titles_of_their_own_and_a_unit_that_grafana_knows(file: Path) -> None:
    panels = load(file)["panels"]
    known = {value for name, value in vars(units).items() if not name.startswith("_")}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert min(panel["id"] for panel in panels) >= 1
    for panel in panels:
        assert panel["title"]
        if "targets" in panel:
            assert panel["fieldConfig"]["defaults"]["unit"] in known
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            values = [step["value"] for step in steps]
            assert values[0] is None
            assert values[1:] == sorted(values[1:])


@EVERY_FILE
def test_every_panel_asks_the_datasource_that_is_chosen_and_names_its_series(file: Path) -> None:
    dashboard = load(file)
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    assert "datasource" in variables
    for panel in dashboard["panels"]:
        if panel["type"] in ("row", "text"):
            continue
        assert panel["datasource"] == chosen
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == chosen
            assert target["legendFormat"] or panel["type"] == "table"
            used = set(re.findall(r"\$\{?([a-z]\w*)", target["expr"]))
            assert used <= variables - {"datasource"}
    assert {
        one["datasource"]["uid"] for one in dashboard["templating"]["list"] if one["type"] == "query"
    } <= {"${datasource}"}


@EVERY_FILE
def test_every_variable_is_used(file: Path) -> None:
    dashboard = load(file)
    text = file.read_text()
    for variable in dashboard["templating"]["list"]:
        assert re.search(rf"\$\{{?{variable['name']}\b", text), variable["name"]


def test_every_metric_of_the_catalogue_is_on_a_dashboard_and_none_is_made_up() -> None:
    families = [family for metric in CATALOGUE.values() for family in metric.describe()]
    names = {
        family.name + suffix
        for family in families
        for suffix in {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(
            family.type, ("",)
        )
    }
    asked = "\n".join(query.expression for file in FILES for query in queries(load(file)))
    recorded = set(METRIC.findall(asked)) - names
    assert {name for name in recorded if not any(name in one for one in RECORDED)} <= {"blindsight_"}
    shown = asked + RULES
    unseen = [one.name for one in families if one.name not in shown]
    assert set(unseen) == {
        f"blindsight_{one}_process_restarts" for one in ("keyholder", "evaluator", "worker")
    }
    assert "blindsight_.+_process_restarts_total" in asked  # all by one pattern
