"""An issuer of JWTs, whose bearers may use the vault as their claims say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from blindsight.errors import Unauthenticated
from blindsight.wire.tokens import TokenRole
from services.keyholder.limits.limits import NONE, Limits
from services.keyholder.tokens.oidc.claims import ClaimRules
from services.keyholder.tokens.oidc.keys import IssuerKeys
from services.keyholder.tokens.store import Grant

if TYPE_CHECKING:
    from jwt.types import Options

ALGORITHMS = ("RS256", "ES256", "EdDSA")
# Clocks of two machines differ.
LEEWAY_SECONDS = 30
MOST_BYTES = 8 << 10
_MOST_LABEL_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Vouched:
    """What an issuer's token is for.

    Attributes:
        grant: of the vault's own, and for all collections.
        collections: names of those for which alone it is; None: for all.
        tenant: name of the tenant whose it is; None: nobody's.
    """

    grant: Grant
    collections: tuple[str, ...] | None
    tenant: str | None


class Issuer:
    """Who vouches for users.

    Args:
        name: the `iss` of its tokens.
        audience: what stands in their `aud`, that they are for this vault.
        algorithms: of signatures, of `ALGORITHMS`.
        keys: its keys.
        rules: what claims allow.
        limits: of each of its users but owners.
    """

    def __init__(
        self,
        name: str,
        audience: str,
        algorithms: Collection[str],
        keys: IssuerKeys,
        rules: ClaimRules,
        limits: Limits = NONE,
    ) -> None:
        self._name = name
        self._audience = audience
        self._algorithms = frozenset(algorithms)
        self._keys = keys
        self._rules = rules
        self._limits = limits

    async def start(self) -> None:
        """Reads the issuer's keys; where they cannot be had now, calls ask again."""
        await self._keys.refresh()

    async def bearer(self, shown: str) -> Vouched:
        """Returns what a token that a caller shows is for.

        Raises:
            Unauthenticated: if it is none of this issuer for this vault, or does not hold now.
            PermissionDenied: if its claims give no role.
            Unavailable: if the issuer's keys cannot be had.
        """
        claims = await self._verified(shown)
        allowed = self._rules.allowed(claims)
        subject = str(claims["sub"])
        told = subject if subject.isprintable() else ""
        grant = Grant(
            token_id=f"jwt_{sha256(f'{self._name} {subject}'.encode()).hexdigest()[:12]}",
            digest=b"",
            role=allowed.role,
            collections=None,
            label=told[:_MOST_LABEL_CHARACTERS],
            created=0,
            expires=int(claims["exp"]) + LEEWAY_SECONDS,
            reveal=allowed.reveal,
            limits=NONE if allowed.role is TokenRole.OWNER else self._limits,
        )
        return Vouched(grant, allowed.collections, allowed.tenant)

    async def _verified(self, shown: str) -> dict[str, Any]:
        import jwt

        header = _header(shown)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            allowed = ", ".join(sorted(self._algorithms))
            raise Unauthenticated(f"unauthenticated: a token of algorithm {algorithm!r:.20}, want {allowed}")
        key = await self._keys.find(key_id, algorithm)
        options: Options = {"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True}
        try:
            claims: dict[str, Any] = jwt.decode(
                shown,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._name,
                leeway=LEEWAY_SECONDS,
                options=options,
            )
            float(claims["exp"])  # a clock cannot be compared with an integer of any size
            str(claims["sub"]).encode()  # JSON may have half of a character
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("unauthenticated: the token has expired, want another") from None
        except jwt.ImmatureSignatureError:
            raise Unauthenticated(
                "unauthenticated: the token does not hold yet: is the clock right?"
            ) from None
        except jwt.InvalidAudienceError:
            raise Unauthenticated(
                f"unauthenticated: a token for others, want audience {self._audience!r}"
            ) from None
        except jwt.InvalidIssuerError:
            raise Unauthenticated(f"unauthenticated: a token of another issuer, want {self._name}") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"unauthenticated: a token without the claim {error.claim!r}") from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            raise Unauthenticated("unauthenticated: the token is not what its issuer signed") from None
        return claims


def _header(shown: str) -> dict[str, Any]:
    import jwt

    if len(shown) > MOST_BYTES:
        raise Unauthenticated(
            f"unauthenticated: a token of {len(shown)} characters, want at most {MOST_BYTES}"
        )
    try:
        header = jwt.get_unverified_header(shown)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthenticated(
            "unauthenticated: what came is no token of this kind, want bs1_ID_SECRET or a JWT"
        ) from None
    return header
