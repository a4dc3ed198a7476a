"""What is left of hits for who may see less than their scores, whatever the metric."""

from dataclasses import replace

import pytest

from blindsight.errors import PermissionDenied
from blindsight.parameters import Scheme
from blindsight.trusted.similarity.linear import Metric
from blindsight.wire.search import Hit, SearchHeader
from blindsight.wire.tokens import Reveal, TokenRole
from services.keyholder.tokens.reveal import Told, asked, shown
from services.keyholder.tokens.store import Grant

# The score of the squared cosines of channels is their distance from all ones.
DISTANCES = (Metric.EUCLIDEAN, Metric.SQUARED_COSINE)
COSINES = (Metric.COSINE, Metric.SQUARED_COSINE)
SCORES = (0.579, 0.57, 0.5699, -0.001)


def searcher(reveal):
    return Grant("0" * 12, b"", TokenRole.SEARCHER, None, "", 0, None, reveal)


def seen(reveal, metric, threshold=None):
    """The scores that are left of hits; hits of an exact search that passed, as the threshold is."""
    lower = metric in DISTANCES
    passing = [
        one for one in SCORES if threshold is None or (one <= threshold if lower else one >= threshold)
    ]
    hits = [Hit(str(one), one, "", channels=(one,)) for one in passing]
    header = SearchHeader("album", threshold=threshold)
    return [hit.score for hit in shown(searcher(reveal), header, Scheme.BFV, metric)(hits).hits]


@pytest.mark.parametrize("metric", COSINES)
def test_a_rounded_score_is_one_for_the_worse(metric):
    better = [0.58, 0.57, 0.57, 0.0] if metric in DISTANCES else [0.57, 0.57, 0.56, -0.01]
    assert seen(Reveal.ROUNDED, metric) == better


@pytest.mark.parametrize("metric", [Metric.DOT, Metric.EUCLIDEAN])
def test_scores_of_which_a_longer_query_shows_more_digits_are_not_rounded(metric):
    with pytest.raises(PermissionDenied, match=f"may not search a collection of metric {metric}"):
        seen(Reveal.ROUNDED, metric)


@pytest.mark.parametrize("metric", COSINES)
def test_a_threshold_tells_no_more_than_the_rounded_scores(metric):
    for threshold in (0.56, 0.57, 0.58):
        told = seen(Reveal.ROUNDED, metric, threshold)
        everything = seen(Reveal.ROUNDED, metric)
        if metric in DISTANCES:
            assert told == [one for one in everything if one <= threshold]
        else:
            assert told == [one for one in everything if one >= threshold]


@pytest.mark.parametrize("metric", Metric)
def test_ranks_have_no_scores_and_scores_are_as_they_are(metric):
    assert seen(Reveal.RANKS, metric) == [None] * len(SCORES)
    assert seen(Reveal.SCORES, metric) == list(SCORES)
    with pytest.raises(PermissionDenied, match="may not set a threshold"):
        seen(Reveal.RANKS, metric, 0.5)
    for reveal in (Reveal.ROUNDED, Reveal.SCORES):
        with pytest.raises(PermissionDenied, match="only those of bfv"):
            shown(searcher(reveal), SearchHeader("album"), Scheme.CKKS, metric)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("scheme", [Scheme.BFV, Scheme.CKKS])
def test_a_decision_is_one_bit_by_the_tokens_own_threshold(metric, scheme):
    grant = replace(searcher(Reveal.DECISIONS), threshold=0.25)
    header = asked(grant, SearchHeader("album", k=50))
    assert (header.threshold, header.k) == (0.25, 1)
    told = shown(grant, header, scheme, metric)
    assert told([Hit("a", 0.5, "name", channels=(0.5,))]) == Told((), passes=True)
    assert told([]) == Told((), passes=False)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (SearchHeader("album", threshold=0.25), "set a threshold: it has its own"),
        (SearchHeader("album", offset=1), "leave out the best hits"),
        (SearchHeader("album", draw=True), "ask for pictures"),
    ],
)
def test_what_would_tell_more_than_a_decision_is_refused(header, said):
    with pytest.raises(PermissionDenied, match=f"reveals decisions may not {said}"):
        asked(replace(searcher(Reveal.DECISIONS), threshold=0.25), header)
