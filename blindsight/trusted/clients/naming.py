"""Names of calls to the untrusted services: another for each, which only our own log knows."""

from __future__ import annotations

from blindsight.runtime import logs, request_ids


def renamed(service: str) -> tuple[tuple[str, str]]:
    """Returns the metadata of one call to an untrusted service: a new random request id.

    A caller's own would tell which calls belong to one request, what its caller calls it, and on what day the
    same name came before.  A line of the log joins both.
    """
    call_id = request_ids.new()
    logs.get().info("asked", of=service, call_id=call_id)
    return ((request_ids.KEY, call_id),)
