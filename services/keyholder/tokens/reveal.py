"""What a search tells the bearer of a token: scores, or less.

d scores of one item are equations that give its vector of dimension d, and under CKKS the noise of scores
depends on the key, which rounding does not hide.  So a searcher is told ranks, unless the owner says
otherwise, and scores of collections under BFV alone, whose scores have no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from blindsight.errors import PermissionDenied
from blindsight.parameters import Scheme
from blindsight.trusted.similarity.linear import Metric
from blindsight.wire.search import Hit, SearchHeader
from blindsight.wire.tokens import Reveal, TokenRole
from services.keyholder.tokens.store import Grant

DECIMALS = 2


@dataclass(frozen=True, slots=True)
class Told:
    """What a searcher is told of a query.

    Attributes:
        hits: those that they may see.
        passes: whether there are hits, for who is told that alone; else None.
    """

    hits: Sequence[Hit]
    passes: bool | None = None


Shown = Callable[[Sequence[Hit]], Told]


def asked(grant: Grant | None, header: SearchHeader) -> SearchHeader:
    """Returns what is searched for when somebody asks for something.

    Who is told decisions has the token's own threshold, so that they cannot look for a score by halving, and
    no number of hits.

    Raises:
        PermissionDenied: if what they ask for would tell more than their token reveals.
    """
    if grant is None or grant.reveal is not Reveal.DECISIONS:
        return header
    if header.threshold is not None:
        raise beyond(grant, "set a threshold: it has its own")
    if header.offset:
        raise beyond(grant, "leave out the best hits")
    if header.draw:
        raise beyond(grant, "ask for pictures of keypoints")
    return replace(header, threshold=_own_threshold(grant), k=1)


def require_own_query(grant: Grant | None) -> None:
    """Checks that the caller may search by something that is stored.

    Raises:
        PermissionDenied: if not.
    """
    if grant is not None and grant.reveal is Reveal.DECISIONS:
        raise beyond(grant, "search by the id of an item")


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
    if reveal is Reveal.DECISIONS:
        return _decision
    if reveal is not Reveal.RANKS and scheme is not Scheme.BFV:
        raise beyond(grant, f"search a collection of scheme {scheme.name.lower()}: only those of bfv")
    if reveal is Reveal.SCORES:
        return _all
    if header.draw:
        raise beyond(grant, "ask for pictures of keypoints")
    if reveal is Reveal.RANKS:
        if header.threshold is not None:  # many of them would find each score
            raise beyond(grant, "set a threshold")
        return _ranks
    if metric in (Metric.DOT, Metric.EUCLIDEAN):  # a longer query has a score of more digits
        raise beyond(grant, f"search a collection of metric {metric}: only those of cosines")
    if header.threshold is not None and round(header.threshold, DECIMALS) != header.threshold:
        raise beyond(grant, f"set a threshold of more than {DECIMALS} decimals")
    return partial(_rounded, threshold=header.threshold, nearest=metric is Metric.SQUARED_COSINE)


def require_verifying(grant: Grant | None, threshold: float | None) -> None:
    """Checks that the caller may verify, by a threshold of theirs or the default (None).

    Raises:
        PermissionDenied: if not.
    """
    if grant is None or grant.role is not TokenRole.SEARCHER or grant.reveal is Reveal.SCORES:
        return
    if grant.reveal is not Reveal.DECISIONS:
        raise beyond(grant, "call Verify")
    if threshold is not None:
        raise beyond(grant, "set a threshold: it has its own")


def decides(grant: Grant | None) -> float | None:
    """Returns the threshold, a score, of who is told decisions alone; None: they are told more."""
    return _own_threshold(grant) if grant is not None and grant.reveal is Reveal.DECISIONS else None


def _own_threshold(grant: Grant) -> float:
    if grant.threshold is None:
        raise beyond(grant, "search: it has no threshold")
    return grant.threshold


def require_exact(grant: Grant | None, scheme: Scheme) -> None:
    """Checks that the caller may see scores of a scheme: a searcher those that have no noise alone.

    Raises:
        PermissionDenied: if not.
    """
    if grant is not None and grant.role is TokenRole.SEARCHER and scheme is not Scheme.BFV:
        raise beyond(grant, f"verify under scheme {scheme.name.lower()}: only under bfv")


def _all(hits: Sequence[Hit]) -> Told:
    return Told(hits)


def _decision(hits: Sequence[Hit]) -> Told:
    return Told((), passes=bool(hits))


def _ranks(hits: Sequence[Hit]) -> Told:
    return Told([replace(hit, score=None, channels=(), keypoints=None) for hit in hits])


def _rounded(hits: Sequence[Hit], *, threshold: float | None, nearest: bool) -> Told:
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
        return Told(made)
    sign = -1 if nearest else 1
    return Told([hit for hit in made if sign * (hit.score or 0.0) >= sign * threshold])


def _worse(score: float, *, nearest: bool) -> float:
    """Returns a score rounded for the worse: a threshold of as many decimals tells no more than it."""
    steps = round(score * 10**DECIMALS, 2 * DECIMALS)  # 0.57 is 56.99999999999999 hundredths
    return float((math.ceil(steps) if nearest else math.floor(steps)) / 10**DECIMALS)


def beyond(grant: Grant, what: str) -> PermissionDenied:
    """Returns the error for what would tell more than a token reveals."""
    return PermissionDenied(
        f"permission denied: a token that reveals {grant.reveal.name.lower()} may not {what}"
    )
