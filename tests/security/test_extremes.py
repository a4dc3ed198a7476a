"""The largest, smallest and strangest number in every field of every request: one clear status each.

What a person would send to every rpc of the keyholder, and messages with every field set to those of the
untrusted services: one field after the other gets each extreme value of its type.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from PIL import Image
from support.bulk import BulkServices
from support.extremes import changed, copied, filled
from support.keysets import shared_key_set
from support.photos import encoded

import blindsight
from blindsight.rpc.evaluator.v1 import evaluator_pb2
from blindsight.rpc.keyholder.v1 import (
    imaging_pb2,
    imports_pb2,
    imports_pb2_grpc,
    keyholder_pb2,
    workers_pb2,
)
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.trusted.imaging import filters
from blindsight.trusted.ingest.worker_token import WorkerAccess

PICTURE = encoded(Image.fromarray(np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)), "PNG")
DIGEST = hashlib.sha256(PICTURE).digest()
VALUES = np.eye(4, dtype="<f4")[:1].tobytes()
# Stands for another request id with every call.
NEW = "new"
BAD = {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"}


def contracts(*files: object) -> dict[str, tuple[str, object]]:
    """Path and description of every rpc of some contracts, by its name."""
    return {
        method.full_name: (f"/{service.full_name}/{method.name}", method)
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


KEYHOLDERS = contracts(keyholder_pb2, imaging_pb2, imports_pb2, workers_pb2)
UNTRUSTED = contracts(evaluator_pb2, storage_pb2)


def rpc(name: str) -> tuple[str, object]:
    """Path and description of an rpc of the keyholder."""
    (found,) = (one for full, one in KEYHOLDERS.items() if full.endswith(f".{name.split(maxsplit=1)[0]}"))
    return found


def _image(request: type[Message], about: str, **more: object) -> list[Message]:
    header = {"size_bytes": len(PICTURE), "sha256": DIGEST, **more}
    return [request(**{about: header}), request(chunk=PICTURE)]


def _said() -> keyholder_pb2.Metadata:
    said = keyholder_pb2.Metadata()
    said.values["year"].number = 2020
    said.values["when"].time.seconds = 1
    return said


def _where() -> keyholder_pb2.Filter:
    comparison = {"key": "year", "operator": keyholder_pb2.OPERATOR_LESS, "value": {"number": 1.0}}
    return keyholder_pb2.Filter(negated={"comparison": comparison})


def streams(job: bytes) -> dict[str, list[Message]]:
    """What a person would send; unary requests are streams of one.

    Args:
        job: id of an import.
    """
    k, i, b, w = keyholder_pb2, imaging_pb2, imports_pb2, workers_pb2
    block = {"values": VALUES, "dimension": 4, "ids": ["an id"]}
    settings = {"scales": 2, "side": 32, "contrast": 0.04, "edge": 10.0, "octaves": 1}
    stored = {"collection": "photos", "id": "picture"}
    kernel = {"rows": 1, "columns": 1, "values": [1.0]}
    array = k.CombineRequest(array={"shape": [2, 2], "sha256": hashlib.sha256(bytes(32)).digest()})
    return {
        "CreateCollection": [k.CreateCollectionRequest(name="photos", embedder="none", dimension=4)],
        "GetCollection": [k.GetCollectionRequest(name="photos")],
        "ListCollections": [k.ListCollectionsRequest()],
        "DeleteCollection": [k.DeleteCollectionRequest(name="nobody's")],
        "RenameCollection": [k.RenameCollectionRequest(name="nobody's", new_name="somebody's")],
        "SetAlias": [k.SetAliasRequest(alias="theirs", collection="photos")],
        "RemoveAlias": [k.RemoveAliasRequest(alias="nobody's")],
        "TruncateCollection": [k.TruncateCollectionRequest(name="nobody's")],
        "Ingest": [k.IngestRequest(header={"collection": "vectors"}), k.IngestRequest(vectors=block)],
        "Ingest photos": [
            k.IngestRequest(
                header={"collection": "photos", "planes": True, "plane_halo": 1, "metadata": _said()}
            ),
            *_image(k.IngestRequest, "file", id="picture", metadata=_said()),
        ],
        "Search": [
            k.SearchRequest(header={"collection": "vectors", "k": 1, "where": _where()}),
            k.SearchRequest(vectors=block),
        ],
        "IngestImage": [
            k.IngestImageRequest(
                settings={"collection": "photos", "upsert": True}, image=PICTURE, id="one", metadata=_said()
            )
        ],
        "SearchVectors": [
            k.SearchVectorsRequest(
                settings={"collection": "vectors", "k": 1, "where": _where()},
                vectors=[{"values": [1.0, 0.0, 0.0, 0.0]}],
            )
        ],
        "SearchImage": [k.SearchImageRequest(settings={"collection": "photos", "k": 1}, image=PICTURE)],
        "Search photos": [
            k.SearchRequest(header={"collection": "photos", "k": 1}),
            *_image(k.SearchRequest, "image"),
            *_image(k.SearchRequest, "image"),
        ],
        "Search items": [
            k.SearchRequest(header={"collection": "photos", "k": 1}),
            k.SearchRequest(item="picture"),
        ],
        "Verify": [
            k.VerifyRequest(header={"threshold": 0.5}),
            *(k.VerifyRequest(vectors={"values": VALUES, "dimension": 4}) for _ in range(2)),
        ],
        "Verify an item": [
            k.VerifyRequest(header={"collection": "vectors", "id": "0", "threshold": 0.5}),
            k.VerifyRequest(vectors={"values": VALUES, "dimension": 4}),
        ],
        "Combine": [
            k.CombineRequest(header={"scheme": "SCHEME_PAILLIER", "key_bits": 2048, "weights": [1]}),
            array,
            k.CombineRequest(chunk=bytes(32)),
        ],
        "GetOriginal": [k.GetOriginalRequest(**stored)],
        "GetPlanes": [k.GetPlanesRequest(**stored)],
        "DeleteItems": [k.DeleteItemsRequest(collection="vectors", ids=["nobody"])],
        "ListItems": [k.ListItemsRequest(collection="photos", page_size=2, where=_where())],
        "CountItems": [k.CountItemsRequest(collection="photos", where=_where())],
        "GetItem": [k.GetItemRequest(**stored)],
        "GetVector": [k.GetVectorRequest(**stored)],
        "UpdateItems": [
            k.UpdateItemsRequest(collection="photos", ids=["nobody"], set=_said(), remove=["gone"])
        ],
        "Repack": [k.RepackRequest(collection="vectors")],
        "AcceptRollback": [k.AcceptRollbackRequest(name="nobody's")],
        "Check": [k.CheckRequest(collection="vectors")],
        "AcknowledgeAlarms": [k.AcknowledgeAlarmsRequest(up_to_number=1)],
        "GetStatus": [k.GetStatusRequest()],
        "Filter": [
            i.FilterRequest(
                header={"operations": [{"name": "custom", "kernel": kernel}], "scheme": "SCHEME_BFV"}
            ),
            *_image(i.FilterRequest, "file"),
        ],
        "Filter a stored one": [
            i.FilterRequest(header={"operations": [{"name": "brightness:0"}], "stored": stored})
        ],
        "Diff": [
            i.DiffRequest(header={"mode": 3, "threshold": 1}),
            *_image(i.DiffRequest, "file"),
            *_image(i.DiffRequest, "file"),
        ],
        "Keypoints": [i.KeypointsRequest(header={"settings": settings}), *_image(i.KeypointsRequest, "file")],
        "Match": [
            i.MatchRequest(header={"settings": settings, "ratio": 0.75}),
            *_image(i.MatchRequest, "file"),
            *_image(i.MatchRequest, "file"),
        ],
        "CreateImport": [
            b.CreateImportRequest(header={"collection": "photos", "request_id": NEW, "says_end": True}),
            *_image(b.CreateImportRequest, "file", number=0, name="a name"),
            b.CreateImportRequest(files={}),
        ],
        "GetImport": [b.GetImportRequest(import_id=job.hex(), page_size=1, page_token="1")],
        "WatchImport": [b.WatchImportRequest(import_id=job.hex())],
        "ListImports": [b.ListImportsRequest(page_size=1, page_token="1")],
        "CancelImport": [b.CancelImportRequest(import_id=job.hex())],
        "RetryImport": [b.RetryImportRequest(import_id=job.hex())],
        "DropFailed": [b.DropFailedRequest(import_id=job.hex())],
        "ReportItems": [w.ReportItemsRequest(items=[{"job_id": job, "state": 2}], job_ids=[job])],
        "NoteTrial": [w.NoteTrialRequest(job_id=job, trial_id=job, state=1)],
    }


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BulkServices, bytes]]:
    """The services with some content, and the id of an import.  No worker takes what it has."""
    few = {name: {"workers": "1"} for name in ("keyholder", "evaluator")}
    running = BulkServices(tmp_path_factory.mktemp("extremes"), settings=few)
    try:
        running.start()
        with blindsight.connect(running.address()) as vault:
            vault.create_collection("photos", embedder="pixels", dimension=64)
            vault.create_collection("vectors", embedder="none", dimension=4).ingest_vectors(np.eye(4)[:2])
        with grpc.insecure_channel(running.address()) as channel:
            for name in ("Ingest photos", "CreateImport"):
                path, method = rpc(name)
                assert Caller(channel).outcome(path, method, streams(bytes(16))[name]) == ("OK", "")
            stub = imports_pb2_grpc.ImportServiceStub(channel)
            (made,) = stub.ListImports(imports_pb2.ListImportsRequest()).imports
        yield running, bytes.fromhex(made.import_id)
    finally:
        running.stop()


class Caller:
    """Calls any rpc with any messages."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._metadata = WorkerAccess(shared_key_set()).metadata()

    def outcome(self, path: str, method: object, messages: list[Message]) -> tuple[str, str]:
        """The status of a call, and what it says."""
        for message in messages:
            if isinstance(message, imports_pb2.CreateImportRequest) and message.header.request_id == NEW:
                messages = [copied(message), *messages[1:]]
                messages[0].header.request_id = os.urandom(8).hex()
        kind = "stream" if method.client_streaming else "unary"
        kind += "_stream" if method.server_streaming else "_unary"
        call = getattr(self._channel, kind)(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        given = iter(messages) if method.client_streaming else messages[0]
        try:
            answer = call(given, timeout=30, metadata=self._metadata)
            if method.server_streaming:
                for count, _ in enumerate(answer):
                    if count > 200:  # of a job that is watched
                        answer.cancel()
        except grpc.RpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""


def found_wrong(caller: Caller, path: str, method: object, good: list[Message]) -> list[str]:
    wrong = []
    for place, message in enumerate(good):
        for what, made in changed(message):
            code, said = caller.outcome(path, method, [*good[:place], made, *good[place + 1 :]])
            if code in BAD or len(said.splitlines()) > 1 or not said.isprintable():
                wrong.append(f"{what}: {code}, {said[:200]!r}")
    return wrong


STREAMS = list(streams(bytes(16)))


def test_every_rpc_of_the_keyholder_is_here() -> None:
    assert {name.split()[0] for name in STREAMS} == {name.rpartition(".")[2] for name in KEYHOLDERS}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", STREAMS)
def test_the_keyholder_says_one_thing_of_extreme_numbers(
    services: tuple[BulkServices, bytes], name: str
) -> None:
    running, job = services
    with grpc.insecure_channel(running.address()) as channel:
        assert found_wrong(Caller(channel), *rpc(name), streams(job)[name]) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", filters.OPERATIONS)
def test_an_operation_says_one_thing_of_extreme_numbers(
    services: tuple[BulkServices, bytes], name: str
) -> None:
    numbers = "1e308", "-1e308", "5e-324", "nan", "inf", "-1", "0", str(1 << 63), str(1 << 64), "9" * 50
    with grpc.insecure_channel(services[0].address()) as channel:
        for number in numbers:
            for text in (f"{name}:{number}", f"{name}:3:{number}", f"{name}:{number}:3"):
                header = {"operations": [{"name": text}], "scheme": "SCHEME_BFV"}
                request = imaging_pb2.FilterRequest(header=header)
                given = [request, *_image(imaging_pb2.FilterRequest, "file")]
                code, said = Caller(channel).outcome(*rpc("Filter"), given)
                assert code not in BAD, (text, said)
                assert said.isprintable()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", UNTRUSTED)
def test_the_untrusted_services_say_one_thing_of_extreme_numbers(
    services: tuple[BulkServices, bytes], name: str
) -> None:
    path, method = UNTRUSTED[name]
    address = services[0].address(name.split(".")[1])
    parts = [field for choice in method.input_type.oneofs for field in choice.fields] or [None]
    good = [filled(method.input_type, part) for part in parts]
    if not method.client_streaming:
        good = good[:1]
    with grpc.insecure_channel(address) as channel:
        assert found_wrong(Caller(channel), path, method, good) == []
