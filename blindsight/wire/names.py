"""Enums of the contract, by the names that people know."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Generic, TypeVar

from blindsight.errors import BlindsightError, InvalidArgument

Name = TypeVar("Name", bound=str)
Member = TypeVar("Member", bound=IntEnum)


class Names(Generic[Name]):
    """An enum of answers, by the names that people know.

    Args:
        what: it is, in messages.
        numbers: of all names.
    """

    def __init__(self, what: str, numbers: Mapping[Name, int]) -> None:
        self._what = what
        self._numbers = numbers
        self._names: dict[int, Name | None] = {number: name for name, number in numbers.items()}

    def to_message(self, name: str) -> int:
        """The number of a name.

        Raises:
            InvalidArgument: when there is none; the message lists the known.
        """
        for known, number in self._numbers.items():
            if known == name:
                return number
        raise InvalidArgument(f"{self._what} {name!r}, want one of {', '.join(self._numbers)}")

    def from_message(self, number: int) -> Name | None:
        """The name of a number.

        Raises:
            BlindsightError: when the keyholder is newer, and has one that this client does not know.
        """
        if number not in self._names:
            raise self._unknown(number)
        return self._names[number]

    def _unknown(self, number: int) -> BlindsightError:
        return BlindsightError(f"the keyholder has {self._what} {number}, which this client does not know")


class AskedNames(Names[Name]):
    """An enum of requests, by the names that people know.

    Args:
        what: it is, in messages.
        numbers: of all names.
        unspecified: what it means to leave it out; None: whoever is asked chooses.
    """

    def __init__(self, what: str, numbers: Mapping[Name, int], unspecified: Name | None = None) -> None:
        super().__init__(what, numbers)
        self._names[0] = unspecified

    def _unknown(self, number: int) -> BlindsightError:
        return InvalidArgument(f"{self._what} {number}, want one of {sorted(self._names)}")


class Members(Generic[Member]):
    """An enum of requests, whose values are those of an enum of ours.

    Args:
        what: it is, in messages.
        members: those that may be sent.
    """

    def __init__(self, what: str, *members: Member) -> None:
        self._what = what
        self._members = {int(member): member for member in members}

    def to_message(self, member: Member) -> int:
        """Its value."""
        return int(member)

    def from_message(self, number: int) -> Member:
        """The member of a value.

        Raises:
            InvalidArgument: when there is none.
        """
        if number not in self._members:
            raise InvalidArgument(f"{self._what} {number}, want one of {sorted(self._members)}")
        return self._members[number]
