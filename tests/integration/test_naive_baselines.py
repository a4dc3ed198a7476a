"""The programs of `compare-schemes` that fail, and what is scaled; what naive ones find: tests/e2e."""

import json
from dataclasses import replace

import pytest
from support import comparison

from blindsight.cli.compare.baselines import programs as baselines
from blindsight.cli.compare.baselines.programs import BASELINES, Sample
from blindsight.cli.compare.results import Family, LeftOut


def test_a_program_that_fails_is_left_out_with_its_last_word(tmp_path):
    broken = replace(BASELINES[0], arguments=("tenseal_pixels", "rsa"))
    assert baselines.measure(broken, comparison.task(), tmp_path) == LeftOut(
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
