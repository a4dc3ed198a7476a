"""The rpcs of tenants: each parses its request, delegates, and converts the result."""

from __future__ import annotations

from typing import Any

import grpc.aio

from blindsight.rpc.keyholder.v1 import tenants_pb2 as pb
from blindsight.rpc.keyholder.v1 import tenants_pb2_grpc
from blindsight.wire.tenants import Quotas, Tenant
from blindsight.wire.times import of_unix
from services.keyholder.tenants.store import Entry
from services.keyholder.tenants.tenants import Tenants
from services.keyholder.tokens.servicer import described

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["TenantService"].full_name
Context = grpc.aio.ServicerContext[Any, Any]


class TenantServicer(tenants_pb2_grpc.TenantServiceServicer):
    """The service of tenants, for the operator.

    Args:
        tenants: makes and deletes them.
    """

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    async def CreateTenant(
        self, request: pb.CreateTenantRequest, context: Context
    ) -> pb.CreateTenantResponse:
        """Makes a tenant."""
        entry, grant, token = await self._tenants.create(request.name, Quotas.from_message(request.quotas))
        return pb.CreateTenantResponse(
            tenant=Tenant(
                entry.tenant_id, entry.name, of_unix(entry.created), entry.quotas, 0, 0
            ).to_message(),
            token=token.reveal_secret().decode(),
            created=described(grant, {}).to_message(),
        )

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        """Returns all tenants."""
        return pb.ListTenantsResponse(tenants=[one.to_message() for one in await self._told()])

    async def SetQuotas(self, request: pb.SetQuotasRequest, context: Context) -> pb.SetQuotasResponse:
        """Changes what a tenant may use."""
        entry = await self._tenants.set_quotas(request.name, Quotas.from_message(request.quotas))
        (told,) = await self._told(entry)
        return pb.SetQuotasResponse(tenant=told.to_message())

    async def DeleteTenant(
        self, request: pb.DeleteTenantRequest, context: Context
    ) -> pb.DeleteTenantResponse:
        """Deletes a tenant."""
        return pb.DeleteTenantResponse(collections=await self._tenants.delete(request.name))

    async def _told(self, *entries: Entry) -> list[Tenant]:
        used = await self._tenants.used()
        return [self._tenant(one, used) for one in entries or self._tenants.all()]

    def _tenant(self, entry: Entry, used: dict[bytes, tuple[int, int]] | None) -> Tenant:
        items, size_bytes = used.get(entry.key_id, (0, 0)) if used is not None else (None, None)
        return Tenant(
            entry.tenant_id,
            entry.name,
            of_unix(entry.created),
            entry.quotas,
            items,
            size_bytes,
            self._tenants.heavy_jobs(entry.tenant_id),
            entry.secret is None,
        )


def register(tenants: Tenants, server: grpc.aio.Server) -> None:
    """Adds the rpcs of tenants to a server."""
    tenants_pb2_grpc.add_TenantServiceServicer_to_server(TenantServicer(tenants), server)
