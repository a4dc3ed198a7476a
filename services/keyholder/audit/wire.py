"""What the messages of a call say of items and queries: their numbers, for the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from blindsight.rpc.keyholder.v1 import audit_pb2, imports_pb2, keyholder_pb2

_FLOAT_BYTES = 4


def queries_of(message: Any) -> int:
    """Returns how many queries a message of a caller asks."""
    if isinstance(message, keyholder_pb2.SearchVectorsRequest):
        return len(message.vectors)
    if isinstance(message, keyholder_pb2.SearchImageRequest):
        return 1
    if isinstance(message, keyholder_pb2.VerifyRequest):
        return int(message.HasField("header"))
    if isinstance(message, keyholder_pb2.SearchRequest):
        if message.HasField("vectors"):
            block = message.vectors
            return max(1, len(block.values) // (_FLOAT_BYTES * max(1, block.dimension)))
        return int(message.WhichOneof("part") in ("image", "item"))
    return 0


# By the type of an answer: how many items it tells of or changes; whether beside those before in its stream.
_ITEMS: Mapping[type, tuple[Callable[[Any], int], bool]] = {
    keyholder_pb2.SearchResponse: (lambda one: len(one.hits.hits), True),
    keyholder_pb2.SearchVectorsResponse: (lambda one: sum(len(hits.hits) for hits in one.results), True),
    keyholder_pb2.SearchImageResponse: (lambda one: len(one.hits), True),
    keyholder_pb2.IngestImageResponse: (lambda _: 1, True),
    keyholder_pb2.GetOriginalResponse: (lambda one: int(one.HasField("header")), True),
    keyholder_pb2.GetPlanesResponse: (lambda one: int(one.HasField("header")), True),
    keyholder_pb2.GetItemResponse: (lambda _: 1, True),
    keyholder_pb2.GetVectorResponse: (lambda _: 1, True),
    keyholder_pb2.ListItemsResponse: (lambda one: len(one.items), True),
    keyholder_pb2.UpdateItemsResponse: (lambda one: one.updated, True),
    keyholder_pb2.DeleteItemsResponse: (lambda one: one.deleted, True),
    keyholder_pb2.TruncateCollectionResponse: (lambda one: one.items_done, False),
    imports_pb2.CreateImportResponse: (lambda one: one.job.received, False),
    imports_pb2.GetImportResponse: (lambda one: len(one.failed_items) + len(one.remarked_items), True),
    imports_pb2.RetryImportResponse: (lambda one: one.retried, True),
    imports_pb2.DropFailedResponse: (lambda one: one.dropped, True),
    audit_pb2.ListRecordsResponse: (lambda one: len(one.records), True),
}


def items_of(message: Any, before: int) -> int:
    """Returns how many items the answers of a call tell of or change.

    Args:
        message: an answer, or a part of one.
        before: how many those before it did.
    """
    if isinstance(message, keyholder_pb2.IngestResponse):
        if message.HasField("item"):
            return before + (message.item.outcome == keyholder_pb2.OUTCOME_STORED)
        return int((message.summary if message.HasField("summary") else message.progress).stored)
    count, adds = _ITEMS.get(type(message), (lambda _: 0, True))
    return count(message) + (before if adds else 0)
