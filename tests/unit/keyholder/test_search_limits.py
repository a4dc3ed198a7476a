"""The hits of a search are bounded in number and in bytes."""

import pytest

from blindsight.errors import ResourceExhausted
from blindsight.runtime.transfer import MAX_MESSAGE_BYTES
from blindsight.wire.search import Hit
from services.keyholder.wire import searching


def test_hits_that_fit_into_a_message_are_sent_and_more_are_refused_with_what_to_do():
    def many(count):
        return [Hit(f"{number:064}", 0.5, "n" * 1000, ()) for number in range(count)]

    sent = searching.hits(many(3000))
    assert len(sent.hits.hits) == 3000
    assert sent.ByteSize() <= MAX_MESSAGE_BYTES
    with pytest.raises(
        ResourceExhausted, match=r"^10000 hits of \d+ bytes, want at most 4194304: ask for fewer"
    ):
        searching.hits(many(10_000))
