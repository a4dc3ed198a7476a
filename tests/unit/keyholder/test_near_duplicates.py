"""The default threshold of `verify` for photos, as bench/near_duplicates.py measures it."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from services.keyholder.operations.verify import PHOTO_DISTANCE

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture(scope="module")
def bench():
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("near_duplicates", BENCH / "near_duplicates.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    sys.path[:] = before
    return made


@pytest.fixture(scope="module")
def figures(bench):
    return bench.measure("descriptor", bench.scenes())


def test_no_two_different_scenes_are_near_duplicates(figures):
    assert figures["pairs"] == 528
    assert figures["nearest_pairs"][0]["distance"] > PHOTO_DISTANCE
    assert figures["pairs_that_pass"] == 0


def test_every_altered_view_is_a_near_duplicate(bench, figures):
    missed = {view: told for view in bench.PROMISED if (told := figures["views"][view])["pass"] != told["of"]}
    assert not missed


def test_a_view_that_is_no_near_duplicate_is_missed(figures):
    """So that the bound says something: crops by a fifth are beyond it."""
    crops = figures["views"]["cropped by 20 %"]
    assert crops["pass"] < crops["of"]


def test_the_figures_that_are_kept_are_of_this_threshold():
    kept = json.loads((BENCH / "results" / "near-duplicates.json").read_text())
    assert kept["threshold"] == PHOTO_DISTANCE
