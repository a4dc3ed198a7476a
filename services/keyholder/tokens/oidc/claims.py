"""What the claims of a JWT allow: a role, collections, and what searches reveal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blindsight.errors import InvalidArgument, PermissionDenied
from blindsight.wire.tokens import Reveal, TokenRole

_ROLES = {one.name.lower(): one for one in TokenRole}
_REVEALED = {one.name.lower(): one for one in (Reveal.RANKS, Reveal.ROUNDED, Reveal.SCORES)}
_MOST_COLLECTIONS = 1000


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a token is for.

    Attributes:
        collections: names; None: all.
        tenant: its name; None: the vault's own.
    """

    role: TokenRole
    collections: tuple[str, ...] | None
    reveal: Reveal
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """Which claims say what; a name with dots may lead into an object, as `realm_access.roles`.

    Attributes:
        role: claim whose values are looked up in `roles`.
        roles: roles by values of that claim.
        collections: claim with names; who has none has all.
        reveal: claim with what searches tell a searcher; who has none is told ranks.
        tenant: claim with the name of a tenant, which all must have; "": all are of the vault's own.
    """

    role: str
    roles: Mapping[str, TokenRole]
    collections: str
    reveal: str
    tenant: str = ""

    def allowed(self, claims: Mapping[str, Any]) -> Allowed:
        """Returns what a token with these claims is for.

        Raises:
            PermissionDenied: if they give no role, or several without one that includes the others.
        """
        role = self._role(claims)
        names = self._names(claims, self.collections, "collections")
        if role is TokenRole.OWNER and names is not None:
            raise _denied(f"the role owner for some collections, want no claim {self.collections!r}")
        if names is not None and len(names) > _MOST_COLLECTIONS:
            raise _denied(f"{len(names)} collections, want at most {_MOST_COLLECTIONS}")
        return Allowed(role, names, self._reveal(claims, role), self._tenant(claims))

    def _tenant(self, claims: Mapping[str, Any]) -> str | None:
        if not self.tenant:
            return None
        values = self._names(claims, self.tenant, "tenants") or ()
        if len(values) != 1:  # who has none must not be taken for one of the vault's own
            raise _denied(f"{len(values)} tenants, want one in claim {self.tenant!r}")
        return values[0]

    def _role(self, claims: Mapping[str, Any]) -> TokenRole:
        values = self._names(claims, self.role, "roles") or ()
        found = {self.roles[one] for one in values if one in self.roles}
        for includes_others in (TokenRole.OWNER, TokenRole.EDITOR):
            if includes_others in found:
                return includes_others
        if len(found) != 1:
            what = "no role" if not found else "several roles, of which none includes the others"
            raise _denied(f"{what}, want one of {', '.join(self.roles)} in claim {self.role!r}")
        return found.pop()

    def _reveal(self, claims: Mapping[str, Any], role: TokenRole) -> Reveal:
        if role is not TokenRole.SEARCHER:
            return Reveal.SCORES
        values = self._names(claims, self.reveal, "what searches reveal")
        if values is None:
            return Reveal.RANKS
        if len(values) != 1 or values[0] not in _REVEALED:
            raise _denied(f"an unknown value of {self.reveal!r}, want one of {', '.join(_REVEALED)}")
        return _REVEALED[values[0]]

    def _names(self, claims: Mapping[str, Any], claim: str, what: str) -> tuple[str, ...] | None:
        value = _of_path(claims, claim)
        if value is None:
            return None
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise _denied(f"{what} in another form, want a text or a list of texts in claim {claim!r}")
        return tuple(values)


def _of_path(claims: Mapping[str, Any], claim: str) -> Any:
    if claim in claims:
        return claims[claim]
    at: Any = claims
    for name in claim.split("."):
        at = at.get(name) if isinstance(at, dict) else None
    return at


def _denied(what: str) -> PermissionDenied:
    return PermissionDenied(f"permission denied: the token's claims give {what}")


def parsed_roles(text: str) -> dict[str, TokenRole]:
    """Returns roles by values of a claim, from `VALUE=ROLE,...`; from "" each role by its own name.

    Raises:
        InvalidArgument: if it is not in that form, or names a role that is none.
    """
    if not text:
        return dict(_ROLES)
    found = {}
    for pair in text.split(","):
        value, sign, role = pair.rpartition("=")
        if not sign or not value.strip() or role.strip() not in _ROLES:
            wanted = ", ".join(_ROLES)
            raise InvalidArgument(f"{pair.strip()!r}, want VALUE=ROLE with a role of {wanted}")
        found[value.strip()] = _ROLES[role.strip()]
    return found
