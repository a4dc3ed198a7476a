"""Bulk ingest through real processes and both queues: every photo once, and byte for byte."""

import pytest
from support.bulk import assert_holds
from support.photos import many

PHOTOS = many(200)


@pytest.mark.timeout(240)
def test_two_hundred_photos_are_stored_once_each_and_come_back_as_they_were(bulk, vault):
    collection = vault.create_collection("photos")
    bulk.worker()
    states = []
    job = collection.ingest_bulk(PHOTOS)
    end = job.wait(progress=states.append)
    assert (end.state, end.received, end.done, end.duplicates, end.failed) == ("finished", 200, 200, 0, 0)
    assert states[-1] == end
    assert [state.settled for state in states] == sorted(state.settled for state in states)
    assert_holds(collection, PHOTOS)
    assert collection.search(PHOTOS[17][1], k=1).results[0][0].name == PHOTOS[17][0]
    assert [one.import_id for one in vault.imports()] == [job.import_id]
