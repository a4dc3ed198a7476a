"""What a search tells the bearer of a token: scores, or less.

d scores of one item are equations that give its vector of dimension d, and under CKKS the noise of scores
depends on the key, which rounding does not hide.  So a searcher is told ranks, unless the owner says
otherwise, and scores of collections under BFV alone, whose scores have no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from blindsight.errors import PermissionDenied
from blindsight.parameters import Scheme
from blindsight.wire.search import Hit, SearchHeader
from blindsight.wire.tokens import Reveal, TokenRole
from services.keyholder.tokens.store import Grant

DECIMALS = 2

Shown = Callable[[Sequence[Hit]], Sequence[Hit]]


def shown(grant: Grant | None, header: SearchHeader, scheme: Scheme) -> Shown:
    """Returns what takes from hits what their searcher may not see.

    Args:
        grant: the searcher's; None: the owner's.
        header: what they ask for.
        scheme: of the collection.

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
    return _rounded


def require_scores(grant: Grant | None, what: str) -> None:
    """Checks that the caller may see scores.

    Raises:
        PermissionDenied: if not.
    """
    if grant is not None and grant.role is TokenRole.SEARCHER and grant.reveal is not Reveal.SCORES:
        raise _denied(grant, what)


def _all(hits: Sequence[Hit]) -> Sequence[Hit]:
    return hits


def _ranks(hits: Sequence[Hit]) -> Sequence[Hit]:
    return [replace(hit, score=None, channels=(), keypoints=None) for hit in hits]


def _rounded(hits: Sequence[Hit]) -> Sequence[Hit]:
    return [
        replace(hit, score=_down(hit.score or 0.0), channels=tuple(map(_down, hit.channels)), keypoints=None)
        for hit in hits
    ]


def _down(score: float) -> float:
    """Returns a score rounded down, so that a threshold of as many decimals tells no more than it does."""
    return float(math.floor(score * 10**DECIMALS) / 10**DECIMALS)


def _denied(grant: Grant, what: str) -> PermissionDenied:
    return PermissionDenied(
        f"permission denied: a token that reveals {grant.reveal.name.lower()} may not {what}"
    )
