"""The hits of a search are sent in as many messages as they need."""

import pytest

from blindsight.runtime.transfer import MAX_MESSAGE_BYTES
from blindsight.wire.search import Hit
from services.keyholder.tokens.reveal import Told
from services.keyholder.wire import searching


@pytest.mark.parametrize("count", [0, 1, 3000, 10_000])
def test_hits_with_long_names_are_cut_into_messages(count):
    found = [Hit(f"{number:064}", 0.5, "n" * 1000, ()) for number in range(count)]
    sent = list(searching.hits(Told(found)))
    assert all(one.ByteSize() <= MAX_MESSAGE_BYTES / 2 for one in sent)
    assert [one.hits.more for one in sent] == [True] * (len(sent) - 1) + [False]
    assert [Hit.from_message(hit) for one in sent for hit in one.hits.hits] == found
