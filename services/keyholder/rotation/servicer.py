"""The rpcs of keys: each delegates, and converts the result."""

from __future__ import annotations

from typing import Any

import grpc.aio

from blindsight.rpc.keyholder.v1 import keys_pb2 as pb
from blindsight.rpc.keyholder.v1 import keys_pb2_grpc
from services.keyholder.rotation.rotation import Rotation

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["KeyService"].full_name
Context = grpc.aio.ServicerContext[Any, Any]


class KeyServicer(keys_pb2_grpc.KeyServiceServicer):
    """The service of keys, for owners.

    Args:
        rotation: moves everything to other keys.
    """

    def __init__(self, rotation: Rotation) -> None:
        self._rotation = rotation

    async def StartRotation(
        self, request: pb.StartRotationRequest, context: Context
    ) -> pb.StartRotationResponse:
        """Begins a rotation, or goes on with it."""
        await self._rotation.start(request.key_id)
        return pb.StartRotationResponse(rotation=self._rotation.status().to_message())

    async def GetRotation(self, request: pb.GetRotationRequest, context: Context) -> pb.GetRotationResponse:
        """Returns how far it is."""
        return pb.GetRotationResponse(rotation=self._rotation.status().to_message())


def register(rotation: Rotation, server: grpc.aio.Server) -> None:
    """Adds the rpcs of keys to a server."""
    keys_pb2_grpc.add_KeyServiceServicer_to_server(KeyServicer(rotation), server)
