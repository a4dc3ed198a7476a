"""The limits of one key, and what keeps to them."""

from __future__ import annotations

from dataclasses import dataclass

from services.keyholder.limits.budgets import Budgets
from services.keyholder.limits.rates import Rates


@dataclass(frozen=True, slots=True)
class Limits:
    """How often somebody may call, and how much they may ask; None: there is no limit.

    Attributes:
        requests_per_second: calls, in the long run.
        burst: calls at once; None: what comes in a second, and at least one.
        queries_per_day: of searches and verifications, in a day of UTC.
    """

    requests_per_second: float | None = None
    burst: int | None = None
    queries_per_day: int | None = None


NONE = Limits()


class Limiter:
    """Keeps everybody to their limits.

    Args:
        budgets: counts queries on the disk.
    """

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._rates = Rates()

    def call(self, key: str, limits: Limits) -> None:
        """Counts a call; raises Busy if it is one too many."""
        if limits.requests_per_second is not None:
            self._rates.take(key, limits.requests_per_second, limits.burst)

    def ask(self, key: str, limits: Limits, queries: int) -> None:
        """Counts queries; raises ResourceExhausted if they are too many."""
        if queries:
            self._budgets.take(key, queries, limits.queries_per_day)

    def used(self, key: str) -> int:
        """Returns how many queries a key asked today."""
        return self._budgets.used(key)

    def forget(self, key: str) -> None:
        """Forgets a key."""
        self._rates.forget(key)
        self._budgets.forget(key)

    def close(self) -> None:
        """Closes the database."""
        self._budgets.close()
