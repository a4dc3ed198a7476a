"""Prometheus' own tool reads the configuration, and plays through when each alert fires."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.certificates import Issuer
from support.prometheus import CONFIGURATION, configuration, promtool

from blindsight.runtime.roles import Role

ROOT = Path(__file__).parents[2]
ALERTS = (CONFIGURATION / "rules" / "alerts.yml").read_text()
NAMES = re.findall(r"- alert: (\w+)", ALERTS)
PLAYED = (CONFIGURATION / "rules" / "tests" / "alerts.yml").read_text()


def anchors(document: Path) -> set[str]:
    """What its headings are linked by."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_configuration_and_the_rules_are_what_prometheus_understands(tmp_path: Path) -> None:
    shutil.copytree(CONFIGURATION / "rules", tmp_path / "rules")
    (tmp_path / "own").mkdir()
    own = Issuer(tmp_path / "own").of(Role.MONITOR)
    (tmp_path / "prometheus.yml").write_text(configuration(own))
    checked = promtool("check", "config", "--lint=all", "--lint-fatal", tmp_path / "prometheus.yml")
    assert "2 rule files found" in checked
    promtool("check", "rules", "--lint=all", "--lint-fatal", "rules/alerts.yml", "rules/recording.yml")


@pytest.mark.parametrize("played", ["alerts.yml", "recording.yml"])
def test_what_is_played_to_the_rules_makes_them_do_what_they_should(played: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", f"rules/tests/{played}")


def test_every_alert_is_seen_firing_in_a_play_that_names_all_that_fire() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 18
    assert set(re.findall(r'alertname="(\w+)"', PLAYED)) == set(NAMES)
    asked = set(re.findall(r"- expr: (.+)", PLAYED))
    assert asked == {'count by (alertname, job) (ALERTS{alertstate="firing"})'}


@pytest.mark.parametrize("alert", NAMES)
def test_an_alert_has_a_play_in_which_it_is_silent_before_or_after_it_fires(alert: str) -> None:
    plays = [play.split("- expr: ")[1:] for play in PLAYED.split("  - name: ")[1:]]
    firing = [[f'"{alert}"' in moment for moment in moments] for moments in plays]
    assert any({True, False} <= set(moments) for moments in firing)


def test_every_alert_links_to_the_heading_that_says_what_to_do() -> None:
    links = re.findall(r"runbook: (\S+)#(\S+)", ALERTS)
    assert [anchor for _, anchor in links] == [name.lower() for name in NAMES]
    for document, anchor in links:
        assert anchor in anchors(ROOT / document)


def test_every_alert_that_the_operators_book_explains_is_one_of_ours() -> None:
    book = (ROOT / "docs" / "operations.md").read_text().split("## Alerts")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", book, re.MULTILINE) == NAMES
