"""A worker's client of the keyholder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from blindsight.rpc.keyholder.v1 import workers_pb2 as pb
from blindsight.rpc.keyholder.v1 import workers_pb2_grpc
from blindsight.runtime.peer import USUAL, Connection, Peer, metadata
from blindsight.runtime.roles import Role
from blindsight.trusted.clients import timeouts
from blindsight.trusted.clients.fencing import Fence
from blindsight.trusted.ingest.worker_token import WorkerAccess
from blindsight.wire.workers import ItemReport, Trial


@dataclass(frozen=True, slots=True)
class Needless:
    """What there is nothing to do for.

    Attributes:
        jobs: that are cancelled or unknown.
        messages: ids of those whose items were stored at an earlier delivery, and may be deleted since.
    """

    jobs: frozenset[bytes]
    messages: frozenset[bytes]


class KeyholderClient:
    """A client of the keyholder.

    Args:
        address: HOST:PORT.
        access: proves that this worker has the keyholder's key set.
        connection: how to connect.

    Attributes:
        fence: the fencing token that the keyholder told last.
    """

    def __init__(
        self,
        address: str,
        access: WorkerAccess,
        connection: Connection = USUAL,
    ) -> None:
        self._peer = Peer(Role.KEYHOLDER, address, workers_pb2_grpc.WorkerServiceStub, connection)
        self._access = access
        self.fence = Fence()

    async def report(self, reports: Sequence[ItemReport]) -> None:
        """Reports the outcome of items.

        Raises:
            Fenced: if another keyholder has taken over from this one.
            BlindsightError: if the keyholder raised it.
            Unavailable: if the keyholder does not answer.
        """
        await self._report(pb.ReportItemsRequest(items=[one.to_message() for one in reports]))

    async def needless(self, jobs: Collection[bytes], message_ids: Collection[bytes]) -> Needless:
        """Asks what there is nothing to do for, of messages of some jobs; raises the errors of `report`."""
        request = pb.ReportItemsRequest(job_ids=sorted(jobs), message_ids=sorted(message_ids))
        answer = await self._report(request)
        return Needless(frozenset(answer.stopped_job_ids), frozenset(answer.done_message_ids))

    async def _report(self, request: pb.ReportItemsRequest) -> pb.ReportItemsResponse:
        given = (*metadata(), *self._access.metadata())

        async def attempt() -> pb.ReportItemsResponse:
            answer = await self._peer.stub.ReportItems(request, metadata=given, timeout=timeouts.CALL_SECONDS)
            self.fence.newest = int(answer.fencing_token)
            return answer

        return await self._peer.call(attempt)

    async def note_trial(self, trial: Trial) -> int:
        """Records how far a photo's trial in quarantine is.

        Returns:
            The number of other trials of the photo that had no end: in each a worker or a process of it died.

        Raises:
            BlindsightError: if the keyholder raised it.
            Unavailable: if the keyholder does not answer.
        """
        request = trial.to_message()
        given = (*metadata(), *self._access.metadata())

        async def attempt() -> int:
            answer = await self._peer.stub.NoteTrial(request, metadata=given, timeout=timeouts.CALL_SECONDS)
            return int(answer.deaths)

        return await self._peer.call(attempt)

    async def close(self) -> None:
        """Closes the connection."""
        await self._peer.close()
