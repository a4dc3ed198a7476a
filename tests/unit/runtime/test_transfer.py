from __future__ import annotations

import pytest

from blindsight.errors import InvalidArgument
from blindsight.runtime.transfer import Receiver, chunks, digest, joined_chunks


@pytest.mark.parametrize(
    ("parts", "pieces"),
    [
        ([], []),
        ([b"", b""], []),
        ([b"ab"], [b"ab"]),
        ([b"abcd"], [b"abcd"]),
        ([b"abcdefghi"], [b"abcd", b"efgh", b"i"]),
        ([b"ab", b"", b"cd"], [b"abcd"]),
        ([b"a", b"bcdefg", b"hi", b"jk"], [b"abcd", b"efgh", b"ijk"]),
    ],
)
def test_parts_come_in_full_pieces_whose_last_is_shorter(parts: list[bytes], pieces: list[bytes]) -> None:
    assert list(joined_chunks(parts, 4)) == pieces
    assert list(chunks(b"".join(parts), 4)) == pieces


def received(came: bytes, sha256: bytes | None) -> bytes:
    receiver = Receiver(4, sha256, limit_bytes=8, what="a file")
    receiver.add(came)
    return receiver.finish()


@pytest.mark.parametrize("sha256", [None, digest(b"abcd")], ids=["none", "its own"])
def test_without_a_digest_the_size_is_checked_and_with_one_both(sha256: bytes | None) -> None:
    assert received(b"abcd", sha256) == b"abcd"
    with pytest.raises(InvalidArgument, match="3 bytes came, want 4"):
        received(b"abc", sha256)
    with pytest.raises(InvalidArgument, match="5 bytes came, want 4"):
        received(b"abcde", sha256)


def test_a_digest_that_is_given_must_be_one_and_must_match() -> None:
    with pytest.raises(InvalidArgument, match="does not match what came"):
        received(b"abcd", digest(b"abce"))
    for wrong in (b"", bytes(31)):
        with pytest.raises(InvalidArgument, match=f"a digest of {len(wrong)} bytes, want 32"):
            received(b"abcd", wrong)
