"""Each service's README tells its settings as the service takes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from blindsight.runtime.settings import ProcessSettings, ServiceSettings
from services.evaluator.settings import EvaluatorSettings
from services.keyholder.settings import KeyholderSettings
from services.storage.settings import StorageSettings
from services.worker.settings import WorkerSettings

SERVICES = Path(__file__).parents[2] / "services"
SETTINGS: dict[str, type[ProcessSettings]] = {
    "keyholder": KeyholderSettings,
    "worker": WorkerSettings,
    "evaluator": EvaluatorSettings,
    "storage": StorageSettings,
}
_IN_WORDS = re.compile(r"processor cores(, 2 at most)?|(half|a quarter) of the memory")


def told(readme: Path) -> dict[str, str]:
    """Names and defaults of a README's table of settings."""
    table = readme.read_text().partition("## Settings")[2]
    return dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", table, re.MULTILINE))


def check(readme: Path, settings: type[ProcessSettings], left_out: set[str]) -> None:
    fields = {name.upper(): one for name, one in settings.model_fields.items() if name not in left_out}
    assert set(told(readme)) == set(fields)
    for name, default in told(readme).items():
        if fields[name].default_factory is not None:
            assert _IN_WORDS.fullmatch(default), f"{name}: {default}"
        else:
            want = "required" if fields[name].is_required() else written(fields[name].default)
            assert default.strip("`") == want, f"{name}: {default}, want {want}"


def written(default: Any) -> str:
    """A default, as people write it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int | float) and default >= 1 << 20:
        return f"{default >> 30} GiB" if default % (1 << 30) == 0 else f"{default / (1 << 20):g} MiB"
    return f"{default:g}" if isinstance(default, float) else "none" if default in ("", None) else str(default)


@pytest.mark.parametrize("service", SETTINGS)
def test_a_service_s_readme_has_its_settings_and_their_defaults(service: str) -> None:
    readme = SERVICES / service / "README.md"
    check(readme, SETTINGS[service], set(ServiceSettings.model_fields))
    assert f"| `BLINDSIGHT_{service.upper()}_...` |" in readme.read_text()


def test_what_all_services_take_stands_in_the_readme_of_all() -> None:
    check(SERVICES / "README.md", ServiceSettings, set())


@pytest.mark.parametrize("service", SETTINGS)
def test_a_service_s_readme_says_what_it_may_see_and_how_it_is_started(service: str) -> None:
    text = (SERVICES / service / "README.md").read_text()
    zone = "TRUSTED" if "blindsight-vault-trusted==" in _pyproject(service) else "UNTRUSTED"
    assert text.startswith(f"# {service.capitalize()}: {zone}\n")
    for question in ("What I do.", "Whom I serve.", "What I may see.", "How I am started."):
        assert f"**{question}**" in text
    for start in (f"`pip install blindsight-vault-{service}`", f"`blindsight-{service}`"):
        assert start in text
    assert f"`python -P -m services.{service}`" in text


def _pyproject(service: str) -> str:
    return (SERVICES / service / "pyproject.toml").read_text()
