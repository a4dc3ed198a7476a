"""The listing of schemes, as a terminal of 80 columns shows it."""

import pytest

from blindsight.additive import SCHEMES
from blindsight.additive.schemes import NOT_ENCRYPTION
from blindsight.cli import output, schemes
from blindsight.parameters import PARAMETER_SETS


@pytest.fixture
def shown(monkeypatch, capsys):
    """What the command prints."""
    monkeypatch.setattr(output, "_PIPE_WIDTH", 80)
    output.stdout.cache_clear()
    schemes.schemes()
    output.stdout.cache_clear()
    return capsys.readouterr().out


def test_no_line_is_longer_and_no_name_is_broken(shown):
    assert max(map(len, shown.splitlines())) <= 80
    for name in [*(info.name for info in SCHEMES.values()), *PARAMETER_SETS]:
        assert f" {name} " in shown


def test_operations_sizes_and_what_is_no_encryption_are_said(shown):
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.split()}
    assert rows["scramble"][:4] == ["differences", "256", "62", "nothing"]
    assert rows["lightphe-benaloh"][:3] == ["all", "2048-8192", "20"]
    assert rows["lightphe-exponential-elgamal"][1:3] == ["2048", "or"]
    assert rows["paillier"][:3] == ["all", "3072", "or"]
    assert f"scramble: {NOT_ENCRYPTION}" in shown


def test_a_scheme_whose_collections_show_the_query_is_said_to(shown):
    assert "paillier: also for collections, whose search shows the query to the server" in shown
    assert "ckks: also" not in shown
