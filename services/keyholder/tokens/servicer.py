"""The rpcs of tokens: each parses its request, delegates, and converts the result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc.aio

from blindsight.rpc.keyholder.v1 import tokens_pb2 as pb
from blindsight.rpc.keyholder.v1 import tokens_pb2_grpc
from blindsight.runtime import callers
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.times import of_unix
from blindsight.wire.tokens import Token, TokenRequest
from services.keyholder.limits.limits import Limiter, Limits
from services.keyholder.tokens.running import Running
from services.keyholder.tokens.store import Grant
from services.keyholder.tokens.tokens import Tokens

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["TokenService"].full_name
Context = grpc.aio.ServicerContext[Any, Any]


class TokenServicer(tokens_pb2_grpc.TokenServiceServicer):
    """The service of tokens, for owners.

    Args:
        tokens: makes and revokes them.
        running: ends the calls of those that are revoked.
        limiter: knows how much they are used.
        vault: returns that of the current call's caller, which knows the collections that they are for.
    """

    def __init__(
        self, tokens: Tokens, running: Running, limiter: Limiter, vault: Callable[[], Vault]
    ) -> None:
        self._tokens = tokens
        self._running = running
        self._limiter = limiter
        self._find = vault

    @property
    def _vault(self) -> Vault:
        return self._find()

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Context) -> pb.CreateTokenResponse:
        """Makes a token."""
        asked = TokenRequest.from_message(request)
        found = {name: await self._vault.get(name) for name in asked.collections}
        names = {one.record.collection_id: one.config.name for one in found.values()}
        expires = int(asked.expires.timestamp()) if asked.expires is not None else None
        limits = Limits(asked.requests_per_second, asked.burst, asked.queries_per_day)
        limited = frozenset(names) if names else None
        grant, token = await asyncio.to_thread(
            self._tokens.create,
            asked.role,
            limited,
            asked.label,
            expires,
            asked.reveal,
            limits,
            asked.threshold,
            tenant=callers.tenant.get(),
        )
        created = described(grant, names).to_message()
        return pb.CreateTokenResponse(token=token.reveal_secret().decode(), created=created)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Context) -> pb.ListTokensResponse:
        """Returns all tokens."""
        grants = self._tokens.all(callers.tenant.get())
        some = any(grant.collections is not None for grant in grants)
        opened = await self._vault.all() if some else []
        names = {one.record.collection_id: one.config.name for one in opened}
        used = self._limiter.used
        listed = [described(grant, names, used(grant.token_id)).to_message() for grant in grants]
        return pb.ListTokensResponse(tokens=listed)

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.RevokeTokenResponse:
        """Revokes a token."""
        await asyncio.to_thread(self._tokens.revoke, request.id, callers.tenant.get())
        self._running.revoked(request.id)
        await asyncio.to_thread(self._limiter.forget, request.id)
        return pb.RevokeTokenResponse()


def register(
    tokens: Tokens,
    running: Running,
    limiter: Limiter,
    vault: Callable[[], Vault],
    server: grpc.aio.Server,
) -> None:
    """Adds the rpcs of tokens to a server."""
    made = TokenServicer(tokens, running, limiter, vault)
    tokens_pb2_grpc.add_TokenServiceServicer_to_server(made, server)


def described(grant: Grant, names: Mapping[bytes, str], queries_today: int = 0) -> Token:
    """Returns what is told of a token; `names` are those of collections, by their ids."""
    collections = grant.collections or ()
    return Token(
        grant.token_id,
        grant.role,
        tuple(sorted(names.get(one, f"deleted {one.hex()[:8]}") for one in collections)),
        grant.label,
        of_unix(grant.created),
        of_unix(grant.expires) if grant.expires is not None else None,
        grant.reveal,
        grant.limits.requests_per_second,
        grant.limits.burst,
        grant.limits.queries_per_day,
        grant.threshold,
        queries_today,
    )
