"""A message of the queue opens as its own item of its own job, and says nothing to who has no key."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from support.keysets import shared_key_set

from blindsight.ciphertext.header import SEALED_OVERHEAD_BYTES
from blindsight.errors import DataLoss
from blindsight.trusted.ingest.envelope import Envelopes, QueuedPhoto
from blindsight.wire.vectors import Box, PhotoVector

PHOTO = QueuedPhoto(b"J" * 16, 7, b"C" * 16, "given id", "holiday/r\u00f6d.jpg", b"\xff\xd8 pixels " * 100)


@pytest.fixture(scope="module")
def key_set():
    return shared_key_set()


@pytest.fixture
def envelopes(key_set):
    return Envelopes(key_set)


def test_a_photo_comes_out_as_it_went_in(envelopes):
    assert envelopes.open(envelopes.seal(PHOTO)) == PHOTO
    empty = replace(PHOTO, id="", name="", data=b"")
    assert envelopes.open(envelopes.seal(empty)) == empty


def test_what_is_said_of_a_photo_comes_out_with_its_types(envelopes):
    said = {"year": 2020, "text that looks like a time": "2026-05-01T12:00:00Z", "tags": ("a", "b")}
    said["when"] = datetime(2026, 5, 1, tzinfo=UTC)
    rows = np.random.default_rng(1).normal(size=(2, 12)).astype(np.float32)
    vectors = (PhotoVector(rows[0]), PhotoVector(rows[1], "left", Box(1, 2.5, 3, 4)))
    told = replace(PHOTO, values=said, vectors=vectors, exif=True, request_id="call")
    opened = envelopes.open(envelopes.seal(told))
    assert replace(opened, vectors=()) == replace(told, vectors=())
    np.testing.assert_array_equal([one.values for one in opened.vectors], rows)
    assert [(one.name, one.box) for one in opened.vectors] == [(one.name, one.box) for one in vectors]
    assert opened.photo.values == said


def test_an_item_has_one_message_id_and_no_two_items_share_one(envelopes):
    assert envelopes.seal(PHOTO).message_id == envelopes.seal(PHOTO).message_id
    others = [replace(PHOTO, number=8), replace(PHOTO, job_id=b"K" * 16)]
    assert len({envelopes.seal(photo).message_id for photo in (PHOTO, *others)}) == 3


def test_the_broker_sees_no_byte_of_the_photo_and_no_name(envelopes):
    body = envelopes.seal(PHOTO).body
    for known in (b"pixels", b"holiday", b"given id", b"43" * 4, b"C" * 8):
        assert known not in body
    assert envelopes.seal(PHOTO).body != body


def test_the_broker_learns_no_length_of_a_name_and_an_eighth_of_a_photos(envelopes):
    photo = replace(PHOTO, data=bytes(5000))
    named = (
        photo,
        replace(photo, name="x"),
        replace(photo, id="an id of mine"),
        replace(photo, data=bytes(5010)),
    )
    assert {len(envelopes.seal(one).body) for one in named} == {5120 + SEALED_OVERHEAD_BYTES}


@pytest.mark.parametrize("field", ["job_id", "message_id"])
def test_a_message_that_was_moved_does_not_open(envelopes, field):
    moved = replace(envelopes.seal(PHOTO), **{field: b"X" * 16})
    with pytest.raises(DataLoss, match="another place"):
        envelopes.open(moved)


def test_the_body_of_another_item_does_not_open(envelopes):
    other = envelopes.seal(replace(PHOTO, number=8))
    with pytest.raises(DataLoss, match="another place"):
        envelopes.open(replace(envelopes.seal(PHOTO), body=other.body))


def test_the_message_of_another_owner_does_not_open(envelopes):
    with pytest.raises(DataLoss):
        Envelopes(shared_key_set(1)).open(envelopes.seal(PHOTO))


def test_a_name_opens_in_its_own_place_alone(envelopes):
    sealed = envelopes.seal_name(PHOTO.job_id, 7, PHOTO.name)
    assert PHOTO.name.encode() not in sealed
    assert envelopes.open_name(PHOTO.job_id, 7, sealed) == PHOTO.name
    assert envelopes.open_name(PHOTO.job_id, 7, b"") == ""
    with pytest.raises(DataLoss):
        envelopes.open_name(PHOTO.job_id, 8, sealed)
