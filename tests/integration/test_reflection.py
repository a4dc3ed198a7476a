"""Every service describes itself to clients without a file of the contract, by both kinds of reflection."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from support.services import Services

COMMON = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}
SERVICES = {
    "keyholder": {
        f"blindsight.keyholder.v1.{name}Service"
        for name in ("Keyholder", "Imaging", "Import", "Token", "Audit", "Tenant", "Key", "Worker")
    },
    "evaluator": {"blindsight.evaluator.v1.EvaluatorService"},
    "storage": {"blindsight.storage.v1.StorageService"},
}


def reflected(
    channel: grpc.Channel, version: str, requests: Iterable[ServerReflectionRequest]
) -> list[ServerReflectionResponse]:
    """Both versions have the same messages on the wire."""
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        ServerReflectionRequest.SerializeToString,
        ServerReflectionResponse.FromString,
    )
    return list(call(iter(requests), timeout=20))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_describes_all_that_it_serves(services: Services, name: str, version: str) -> None:
    with grpc.insecure_channel(services.address(name)) as channel:
        (listed,) = reflected(channel, version, [ServerReflectionRequest(list_services="")])
        names = [service.name for service in listed.list_services_response.service]
        assert set(names) == SERVICES[name] | COMMON
        asked = [ServerReflectionRequest(file_containing_symbol=one) for one in names]
        answers = reflected(channel, version, asked)
    files = {
        file.name: file
        for answer in answers
        for file in map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    }
    pool = descriptor_pool.DescriptorPool()
    while files:  # those that a file needs come before it
        ready = [file for file in files.values() if not files.keys() & set(file.dependency)]
        for file in ready:
            pool.Add(files.pop(file.name))
    for one in names:
        service = pool.FindServiceByName(one)
        assert service.methods
        assert all(method.input_type.full_name and method.output_type.full_name for method in service.methods)


def test_what_is_not_served_is_not_found(services: Services) -> None:
    with grpc.insecure_channel(services.address()) as channel:
        (answer,) = reflected(channel, "v1", [ServerReflectionRequest(file_containing_symbol="no.Such")])
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
