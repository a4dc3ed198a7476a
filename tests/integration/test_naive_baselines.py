"""The naive programs of `compare-schemes`: where they are right, where they overflow, what is scaled."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support import comparison

from blindsight.cli.compare.baselines import programs as baselines
from blindsight.cli.compare.baselines.programs import BASELINES, Sample
from blindsight.cli.compare.results import Family, LeftOut, Method, Row

CKKS, BFV, _ = BASELINES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture(scope="module")
def naive(folder):
    """Rows of naive CKKS and BFV over six photos."""
    found = {one.name: baselines.measure(one, comparison.task(), folder) for one in (CKKS, BFV)}
    assert all(isinstance(one, Row) for one in found.values()), found
    return found


def test_naive_bfv_is_exact_for_the_same_photo(naive):
    same = naive["naive BFV"].answers[0]
    assert same.right
    assert same.channels == (1.0, 1.0, 1.0)


def test_naive_ckks_is_near_for_the_same_photo_since_both_sums_wrap_alike(naive):
    same = naive["naive CKKS"].answers[0]
    assert np.abs(np.array(same.channels) - 1).max() < 0.1
    assert same.channels != (1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", ["naive CKKS", "naive BFV"])
def test_one_changed_pixel_overflows_a_naive_similarity(naive, name):
    plain = comparison.task().queries[1].channels
    assert min(plain) > 0.99999
    values = np.array(naive[name].answers[1].channels, float)  # a division by zero becomes NaN
    assert not np.all(np.abs(values - plain) < 0.05)
    assert naive[name].max_error is None or naive[name].max_error > 0.5


def test_a_naive_row_says_what_was_measured_and_what_was_scaled(naive):
    for row in naive.values():
        assert row.method is Method.NAIVE
        assert row.scaled == ("encrypt_seconds", "compare_seconds", "decrypt_seconds")
        assert row.sample == "6 encryptions and 12 comparisons"
        assert {answer.candidates for answer in row.answers} == {baselines.CANDIDATES}
        assert row.bytes_per_image == pytest.approx(3 * 331_000, rel=0.01)
        assert row.keygen_seconds > 0


def test_a_program_that_fails_is_left_out_with_its_last_word(folder):
    broken = replace(CKKS, arguments=("tenseal_pixels", "rsa"))
    assert baselines.measure(broken, comparison.task(), folder) == LeftOut(
        "naive CKKS", "its program failed: KeyError: 'rsa'"
    )


# --- scaling -----------------------------------------------------------------------------------


def test_a_sample_is_scaled_by_its_median():
    assert baselines.scaled([0.2, 0.1, 9.0], 1000) == pytest.approx(200)


def test_naive_figures_are_scaled_to_every_photo():
    document = {
        "scale_bits": 40,
        "keygen_seconds": 0.5,
        "encrypt_seconds": [0.01, 0.03, 0.02],
        "query_encrypt_seconds": [0.01],
        "compare_seconds": [0.2],
        "decrypt_seconds": [0.002],
        "bytes_per_image": [900, 1100],
        "scores": [{"query": 0, "image": 0, "channels": [1.0, 1.0, 0.5]}],
    }
    row = baselines.naive_row("x", document, comparison.task(), Sample([0], [(0, 0)]))
    assert (row.family, row.encrypt_seconds, row.compare_seconds) == (Family.CKKS, 6 * 0.02, 6 * 0.2)
    assert (row.query_seconds, row.keygen_seconds, row.bytes_per_image) == (0.01, 0.5, 1000)
    assert row.max_error == 0.5
    assert json.loads(json.dumps(row.details)) == {key: document[key] for key in document if key != "scores"}


@pytest.mark.parametrize(("images_per_block", "blocks"), [(105, 1), (6, 1), (5, 2), (2, 3)])
def test_paillier_figures_are_scaled_by_blocks(images_per_block, blocks):
    document = {
        "measured_images": min(6, images_per_block),
        "images_per_block": images_per_block,
        "keygen_seconds": 0.5,
        "encrypt_seconds": 16.0,
        "compare_seconds": [0.4],
        "decrypt_seconds": [0.07],
        "block_bytes": 6000,
        "scores": [{"query": 0, "image": 0, "channels": [1.0, 1.0, 1.0]}],
    }
    row = baselines.paillier_row("x", document, comparison.task(), Sample([0], []))
    assert (row.encrypt_seconds, row.compare_seconds) == (16.0 * blocks, 0.4 * blocks)
    assert row.bytes_per_image == 1000 * blocks
    assert bool(row.scaled) == bool(row.sample) == (blocks > 1)


def test_the_sample_has_the_right_photo_of_every_query_first():
    task = comparison.task()
    sample = baselines.few(task)
    for number, query in enumerate(task.queries):
        rows = [sample.rows[place] for at, place in sample.pairs if at == number]
        assert rows[0] == query.winner
        assert len(set(rows)) == baselines.CANDIDATES
    assert [query.winner for query in task.queries] == baselines.block(task).rows[:3]
