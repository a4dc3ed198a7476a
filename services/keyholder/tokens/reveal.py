"""What a search tells the bearer of a token: scores, or less.

d scores of one item are equations that give its vector of dimension d, and under CKKS the noise of scores
depends on the key, which rounding does not hide.  So a searcher is told ranks, unless the owner says
otherwise, and scores of collections under BFV alone, whose scores have no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from blindsight.errors import PermissionDenied
from blindsight.parameters import Scheme
from blindsight.trusted.similarity.linear import Metric
from blindsight.wire.search import Hit, SearchHeader
from blindsight.wire.tokens import Reveal, TokenRole
from services.keyholder.tokens.store import Grant

DECIMALS = 2

Shown = Callable[[Sequence[Hit]], Sequence[Hit]]


def shown(grant: Grant | None, header: SearchHeader, scheme: Scheme, metric: Metric) -> Shown:
    """Returns what takes from hits what their searcher may not see.

    Args:
        grant: the searcher's; None: the owner's.
        header: what they ask for.
        scheme, metric: of the collection.

    Raises:
        PermissionDenied: if what they ask for would tell more than their token reveals.
    """
    if grant is None or grant.role is not TokenRole.SEARCHER:
        return _all
    reveal = grant.reveal
    if reveal is not Reveal.RANKS and scheme is not Scheme.BFV:
        raise _denied(grant, f"search a collection of scheme {scheme.name.lower()}: only those of bfv")
    if reveal is Reveal.SCORES:
        return _all
    if header.draw:
        raise _denied(grant, "ask for pictures of keypoints")
    if reveal is Reveal.RANKS:
        if header.threshold is not None:  # many of them would find each score
            raise _denied(grant, "set a threshold")
        return _ranks
    if header.threshold is not None and round(header.threshold, DECIMALS) != header.threshold:
        raise _denied(grant, f"set a threshold of more than {DECIMALS} decimals")
    return partial(_rounded, threshold=header.threshold, nearest=metric not in (Metric.COSINE, Metric.DOT))


def require_scores(grant: Grant | None, what: str) -> None:
    """Checks that the caller may see scores.

    Raises:
        PermissionDenied: if not.
    """
    if grant is not None and grant.role is TokenRole.SEARCHER and grant.reveal is not Reveal.SCORES:
        raise _denied(grant, what)


def require_exact(grant: Grant | None, scheme: Scheme) -> None:
    """Checks that the caller may see scores of a scheme: a searcher those that have no noise alone.

    Raises:
        PermissionDenied: if not.
    """
    if grant is not None and grant.role is TokenRole.SEARCHER and scheme is not Scheme.BFV:
        raise _denied(grant, f"verify under scheme {scheme.name.lower()}: only under bfv")


def _all(hits: Sequence[Hit]) -> Sequence[Hit]:
    return hits


def _ranks(hits: Sequence[Hit]) -> Sequence[Hit]:
    return [replace(hit, score=None, channels=(), keypoints=None) for hit in hits]


def _rounded(hits: Sequence[Hit], *, threshold: float | None, nearest: bool) -> Sequence[Hit]:
    """Returns hits with rounded scores, and only those that pass a threshold as they are shown.

    A search lets scores pass that are a little worse, which would tell more of them.

    Args:
        threshold: of as many decimals; None: no limit.
        nearest: whether the lowest score is the best.
    """
    made = [
        replace(
            hit,
            score=_worse(hit.score or 0.0, nearest=nearest),
            channels=tuple(_worse(one, nearest=False) for one in hit.channels),
            keypoints=None,
        )
        for hit in hits
    ]
    if threshold is None:
        return made
    sign = -1 if nearest else 1
    return [hit for hit in made if sign * (hit.score or 0.0) >= sign * threshold]


def _worse(score: float, *, nearest: bool) -> float:
    """Returns a score rounded for the worse: a threshold of as many decimals tells no more than it."""
    steps = round(score * 10**DECIMALS, 2 * DECIMALS)  # 0.57 is 56.99999999999999 hundredths
    return float((math.ceil(steps) if nearest else math.floor(steps)) / 10**DECIMALS)


def _denied(grant: Grant, what: str) -> PermissionDenied:
    return PermissionDenied(
        f"permission denied: a token that reveals {grant.reveal.name.lower()} may not {what}"
    )
