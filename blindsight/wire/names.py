"""Conversions between enums of the contract and their names in the API, or enums of this package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Generic, TypeVar

from blindsight.errors import BlindsightError, InvalidArgument

Name = TypeVar("Name", bound=str)
Member = TypeVar("Member", bound=IntEnum)


class Names(Generic[Name]):
    """An enum of answers, whose values have names in the API.

    Args:
        what: what the enum is called in error messages.
        numbers: the number of every name.
    """

    def __init__(self, what: str, numbers: Mapping[Name, int]) -> None:
        self._what = what
        self._numbers = numbers
        self._names: dict[int, Name | None] = {number: name for name, number in numbers.items()}

    def __iter__(self) -> Iterator[Name]:
        """Iterates over the names."""
        return iter(self._numbers)

    def to_message(self, name: str) -> int:
        """Returns the number of a name.

        Raises:
            InvalidArgument: if the name is unknown; the message lists the known ones.
        """
        for known, number in self._numbers.items():
            if known == name:
                return number
        raise InvalidArgument(f"{self._what} {name!r}, want one of {', '.join(self._numbers)}")

    def from_message(self, number: int) -> Name | None:
        """Returns the name of a number.

        Raises:
            BlindsightError: if the number is unknown: the keyholder is newer than this client.
        """
        if number not in self._names:
            raise self._unknown(number)
        return self._names[number]

    def _unknown(self, number: int) -> BlindsightError:
        return BlindsightError(f"the keyholder has {self._what} {number}, which this client does not know")


class AskedNames(Names[Name]):
    """An enum of requests, whose values have names in the API.

    Args:
        what: what the enum is called in error messages.
        numbers: the number of every name.
        unspecified: the meaning of an unset field; None: the server chooses.
    """

    def __init__(self, what: str, numbers: Mapping[Name, int], unspecified: Name | None = None) -> None:
        super().__init__(what, numbers)
        self._names[0] = unspecified

    def to_message(self, name: str) -> int:
        """Returns the number of a name; an empty one that stands for an unset field has 0."""
        return 0 if not name and self._names[0] == "" else super().to_message(name)

    def _unknown(self, number: int) -> BlindsightError:
        return InvalidArgument(f"{self._what} {number}, want one of {sorted(self._names)}")


class Members(Generic[Member]):
    """An enum of requests, whose values are those of an `IntEnum`.

    Args:
        what: what the enum is called in error messages.
        members: those that may be sent.
    """

    def __init__(self, what: str, *members: Member) -> None:
        self._what = what
        self._members = {int(member): member for member in members}

    def to_message(self, member: Member) -> int:
        """Returns the value of a member."""
        return int(member)

    def from_message(self, number: int) -> Member:
        """Returns the member with a value.

        Raises:
            InvalidArgument: if no allowed member has this value.
        """
        if number not in self._members:
            raise InvalidArgument(f"{self._what} {number}, want one of {sorted(self._members)}")
        return self._members[number]
