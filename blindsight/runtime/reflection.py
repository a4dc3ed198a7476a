"""Server reflection, version 1 and its predecessor, which differ by the package's name alone.

It is on in every service: the contracts are public, and hiding them from who reaches a service would keep
nobody from calling it.  grpcio-reflection has the predecessor only, and many clients ask for version 1 only.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

_BEFORE, _PACKAGE = "grpc.reflection.v1alpha", "grpc.reflection.v1"
SERVICE_NAME = f"{_PACKAGE}.ServerReflection"


def enable(names: Iterable[str], server: grpc.aio.Server) -> None:
    """Adds reflection of services to a server.

    Args:
        names: full names of the services.
    """
    _describe()
    told = (*names, SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(told, server)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(told).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE_NAME, {"ServerReflectionInfo": handler}),)
    )


@cache
def _describe() -> None:
    """Lets version 1 describe itself: who asks for all services asks for it, too."""
    made = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(made)
    made.package, made.name = _PACKAGE, made.name.replace("v1alpha", "v1")
    for message in made.message_type:
        for field in filter(lambda one: one.type_name, message.field):
            field.type_name = field.type_name.replace(_BEFORE, _PACKAGE)
    for service in made.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_BEFORE, _PACKAGE)
            method.output_type = method.output_type.replace(_BEFORE, _PACKAGE)
    descriptor_pool.Default().Add(made)
