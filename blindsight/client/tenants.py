"""Tenants of the SDK: made, listed, limited, deleted by the operator."""

from __future__ import annotations

from dataclasses import dataclass, field

from blindsight.client.calls import Connection
from blindsight.rpc.keyholder.v1 import tenants_pb2 as pb
from blindsight.wire.tenants import Quotas, Tenant
from blindsight.wire.tokens import Token


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant that was just made.

    Attributes:
        tenant: the tenant.
        token: the secret that its owner shows; nobody can tell it again.
        about: what the token is for.
    """

    tenant: Tenant
    token: str = field(repr=False)
    about: Token


def create(connection: Connection, name: str, quotas: Quotas) -> NewTenant:
    """Makes a tenant."""
    request = pb.CreateTenantRequest(name=name, quotas=quotas.to_message())
    answer = connection.repeat(lambda: connection.tenants.CreateTenant(request), safe=False)
    tenant, about = Tenant.from_message(answer.tenant), Token.from_message(answer.created)
    return NewTenant(tenant, answer.token, about)


def all_tenants(connection: Connection) -> list[Tenant]:
    """Returns all tenants, the oldest first."""
    answer = connection.repeat(lambda: connection.tenants.ListTenants(pb.ListTenantsRequest()))
    return list(map(Tenant.from_message, answer.tenants))


def set_quotas(connection: Connection, name: str, quotas: Quotas) -> Tenant:
    """Changes what a tenant may use."""
    request = pb.SetQuotasRequest(name=name, quotas=quotas.to_message())
    return Tenant.from_message(connection.repeat(lambda: connection.tenants.SetQuotas(request)).tenant)


def delete(connection: Connection, name: str) -> int:
    """Deletes a tenant."""
    request = pb.DeleteTenantRequest(name=name)
    return int(connection.repeat(lambda: connection.tenants.DeleteTenant(request), safe=False).collections)
