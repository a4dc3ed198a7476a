"""Rotations of keys of the SDK."""

from __future__ import annotations

from blindsight.client.calls import Connection
from blindsight.rpc.keyholder.v1 import keys_pb2 as pb
from blindsight.wire.keys import Rotation


def rotate(connection: Connection) -> Rotation:
    """Begins a rotation, or goes on with it."""
    request = pb.StartRotationRequest(key_id=rotation(connection).key_id)
    answer = connection.repeat(lambda: connection.keys.StartRotation(request))
    return Rotation.from_message(answer.rotation)


def rotation(connection: Connection) -> Rotation:
    """Returns how far a rotation is."""
    answer = connection.repeat(lambda: connection.keys.GetRotation(pb.GetRotationRequest()))
    return Rotation.from_message(answer.rotation)
