from dataclasses import replace

import pytest
from support.comparison import BFV, CKKS, NAIVE_BFV, NAIVE_CKKS, PAILLIER, plain, results, row

from blindsight.cli.compare.results import Answer, Family
from blindsight.cli.compare.verdict import verdict


def bfv(search_seconds, error):
    return row("bfv-4096", Family.BFV, search_seconds, error)


@pytest.mark.parametrize(
    ("other", "headline"),
    [
        (bfv(0.13, 1e-4), "CKKS: it is faster and closer to plaintext."),
        (bfv(0.13, 1e-8), "CKKS for speed, BFV for precision."),
        (bfv(0.13, 4e-6), "CKKS: it is faster."),
        (bfv(0.03, 1e-4), "BFV for speed, CKKS for precision."),
        (bfv(0.03, 1e-8), "BFV: it is faster and closer to plaintext."),
        (bfv(0.061, 1e-8), "BFV: as fast, and closer to plaintext."),
        (bfv(0.061, 4e-6), "Either: they are as fast and as precise as each other."),
    ],
)
def test_the_headline_follows_from_the_figures(other, headline):
    assert verdict(results(CKKS, other))[0] == headline


def test_a_scheme_that_finds_what_the_other_misses_wins_whatever_the_times():
    wrong = Answer(5, 6, False, CKKS.answers[0].channels)
    missing = replace(CKKS, answers=(wrong, *CKKS.answers[1:]))
    headline, choice = verdict(results(missing, BFV))
    assert headline == "BFV: it finds what plaintext finds."
    assert "ckks-4096 found 2 of 3 right photos and bfv-4096 3 of 3" in choice


def test_the_sentences_name_the_figures_of_the_fastest_sets():
    slow = row("bfv-8192", Family.BFV, 0.19, 1.2e-4)
    _, choice = verdict(results(slow, BFV, CKKS))
    assert choice == (
        "A search took 60 ms with ckks-4096 and 130 ms with bfv-4096, 2.2 times as long. Both found the "
        "right photo every time; their similarities are off by at most 3.0 × 10⁻⁶ and 1.2 × 10⁻⁴."
    )


def test_the_naive_sentence_says_that_it_was_scaled_up_and_what_overflowed():
    _, _, naive = verdict(results(CKKS, BFV, NAIVE_CKKS, NAIVE_BFV, PAILLIER, plain()))
    assert "takes about 22.8 s under CKKS and 48 s under BFV, 380 and 800 times as long as ckks-4096" in naive
    assert "are not numbers" in naive
    assert (
        "Of 4 photos it picked the right one in 2 of 3 searches under CKKS and 1 of 3 searches under BFV."
        in naive
    )
    assert "off by up to 846" in verdict(results(CKKS, NAIVE_CKKS))[-1]


def test_a_naive_program_that_does_not_overflow_is_not_accused():
    _, _, naive = verdict(results(CKKS, BFV, replace(NAIVE_CKKS, max_error=1e-5, scaled=())))
    assert "overflow" not in naive
    assert "about" not in naive
    assert naive.endswith("Its similarities are off by at most 1.0 × 10⁻⁵.")


@pytest.mark.parametrize(
    ("rows", "headline"),
    [
        ((CKKS, PAILLIER), "Only CKKS was measured."),
        ((PAILLIER,), "No answer: neither CKKS nor BFV was measured."),
    ],
)
def test_what_is_missing_is_not_judged(rows, headline):
    assert verdict(results(*rows))[0] == headline
