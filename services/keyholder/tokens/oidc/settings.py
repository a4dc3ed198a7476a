"""Settings of an issuer."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from blindsight.errors import InvalidArgument, MissingPackage
from services.keyholder.limits.limits import Limits
from services.keyholder.tokens.oidc.claims import ClaimRules, parsed_roles
from services.keyholder.tokens.oidc.fetching import reader
from services.keyholder.tokens.oidc.issuer import ALGORITHMS, Issuer
from services.keyholder.tokens.oidc.keys import IssuerKeys, parsed

_PREFIX = "BLINDSIGHT_KEYHOLDER_OIDC_"


class OidcSettings(BaseModel):
    """Settings of the keyholder for users whom an issuer vouches for.

    Attributes:
        oidc_issuer: the `iss` of its tokens; "": there is none.
        oidc_audience: what stands in their `aud`.
        oidc_jwks: its keys: a file, or an https address.
        oidc_authority: certificates of who vouches for that address, in PEM; None: those of this machine.
        oidc_algorithms: of signatures, with commas.
        oidc_role_claim: the claim that gives a role.
        oidc_roles: VALUE=ROLE, with commas; "": the claim has the names of roles.
        oidc_collections_claim: the claim with names of collections; who has none has all.
        oidc_reveal_claim: the claim with what searches tell a searcher.
        oidc_tenant_claim: the claim with the name of a tenant; "": all are users of the vault's own.
        oidc_requests_per_second, oidc_queries_per_day: of each user but owners; None: there is no limit.
    """

    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_jwks: str = ""
    oidc_authority: Path | None = None
    oidc_algorithms: str = ",".join(ALGORITHMS)
    oidc_role_claim: str = "blindsight_role"
    oidc_roles: str = ""
    oidc_collections_claim: str = "blindsight_collections"
    oidc_reveal_claim: str = "blindsight_reveal"
    oidc_tenant_claim: str = ""
    oidc_requests_per_second: float | None = Field(default=None, gt=0)
    oidc_queries_per_day: int | None = Field(default=None, ge=1)

    def issuer(self) -> Issuer | None:
        """Returns who vouches for users; None: nobody does.

        Raises:
            InvalidArgument: if a setting does not fit.
            MissingPackage: if PyJWT is not installed.
        """
        if not self.oidc_issuer:
            given = [
                name for name in ("audience", "jwks", "authority", "roles") if getattr(self, f"oidc_{name}")
            ]
            if given:
                raise InvalidArgument(f"setting {_PREFIX}{given[0].upper()}, want {_PREFIX}ISSUER, too")
            return None
        for name in ("audience", "jwks"):
            if not getattr(self, f"oidc_{name}"):
                raise InvalidArgument(f"setting {_PREFIX}ISSUER, want {_PREFIX}{name.upper()}, too")
        algorithms = [one.strip() for one in self.oidc_algorithms.split(",")]
        if wrong := [one for one in algorithms if one not in ALGORITHMS]:
            raise InvalidArgument(
                f"setting {_PREFIX}ALGORITHMS: got {wrong[0]!r}, want of {', '.join(ALGORITHMS)}"
            )
        try:
            roles = parsed_roles(self.oidc_roles)
        except InvalidArgument as error:
            raise InvalidArgument(f"setting {_PREFIX}ROLES: got {error.message}") from None
        try:
            read = reader(self.oidc_jwks, self.oidc_authority)
        except InvalidArgument as error:
            raise InvalidArgument(f"setting {_PREFIX}JWKS: {error.message}") from None
        try:
            import jwt  # noqa: F401
        except ImportError:
            raise MissingPackage(
                f"setting {_PREFIX}ISSUER needs PyJWT: pip install 'blindsight-vault-keyholder[oidc]'"
            ) from None
        try:
            if "://" not in self.oidc_jwks:
                parsed(read())
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"setting {_PREFIX}JWKS: {self.oidc_jwks}: {error}") from None
        rules = ClaimRules(
            self.oidc_role_claim,
            roles,
            self.oidc_collections_claim,
            self.oidc_reveal_claim,
            self.oidc_tenant_claim,
        )
        limits = Limits(self.oidc_requests_per_second, None, self.oidc_queries_per_day)
        return Issuer(self.oidc_issuer, self.oidc_audience, algorithms, IssuerKeys(read), rules, limits)
