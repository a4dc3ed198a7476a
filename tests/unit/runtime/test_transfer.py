from __future__ import annotations

import pytest

from blindsight.runtime.transfer import chunks, joined_chunks


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
