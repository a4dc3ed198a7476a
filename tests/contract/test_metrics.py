"""Metrics keep to one rule of names, and their labels come from closed sets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from support.metrics import CATALOGUE, REGISTRIES

from blindsight.runtime.metrics import SHARED, Reading

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "metrics.md"
OURS = re.compile(
    r"blindsight_((keyholder|evaluator|storage|worker)_)?([a-z]+_)*"
    r"(seconds|bytes|items|jobs|restarts|collections|segments|evictions|errors|calls|queries)(_total)?"
)
COMMUNITY = {"grpc_server_handled_total", "grpc_server_handling_seconds", "grpc_server_in_flight"}
CLOSED_SETS = {
    "role",
    "code",
    "scheme",
    "parameter_set",
    "embedder",
    "operation",
    "outcome",
    "reason",
    "grpc_service",
    "grpc_method",
    "grpc_code",
}


def exposed(metric: MetricWrapperBase | Reading) -> tuple[str, str]:
    """Its name as a scrape shows it, and its type."""
    (family,) = metric.describe()
    return (family.name + "_total" if family.type == "counter" else family.name), family.type


def labels(metric: MetricWrapperBase | Reading) -> tuple[str, ...]:
    return metric._labelnames if isinstance(metric, MetricWrapperBase) else ()


def test_the_catalogue_is_not_empty() -> None:
    assert len(CATALOGUE) >= 8


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_metric_is_named_by_service_thing_and_unit(name: str) -> None:
    shown, kind = exposed(CATALOGUE[name])
    assert shown in COMMUNITY or OURS.fullmatch(shown)
    assert shown.endswith("_total") == (kind == "counter")


@pytest.mark.parametrize("name", CATALOGUE)
def test_labels_come_from_closed_sets(name: str) -> None:
    assert set(labels(CATALOGUE[name])) <= CLOSED_SETS


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_metric_says_what_it_counts(name: str) -> None:
    (family,) = CATALOGUE[name].describe()
    assert re.fullmatch(r"[A-Z].*\.", family.documentation)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_metric_is_served_by_the_service_that_it_is_named_after(name: str) -> None:
    shown, _ = exposed(CATALOGUE[name])
    (family,) = CATALOGUE[name].describe()
    serving = {
        service
        for service, registry in REGISTRIES.items()
        if family.name in {one.name for one in registry.collect()}
    }
    assert serving == {service for service in REGISTRIES if shown.startswith(f"blindsight_{service}_")}
    assert (not serving) == (CATALOGUE[name] in SHARED)


def test_the_documentation_lists_exactly_the_catalogue() -> None:
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in DOCUMENTATION.read_text().splitlines()
        if re.match(r"\| `", line)
    ]
    listed = {
        (name.strip("`"), service, tuple(re.findall(r"`(\w+)`", labels))) for name, service, labels, _ in rows
    }
    assert len(listed) == len(rows)
    assert listed == {
        (shown, "all" if metric in SHARED else shown.split("_")[1], labels(metric))
        for metric in CATALOGUE.values()
        for shown, _ in [exposed(metric)]
    }
