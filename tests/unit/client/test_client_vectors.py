import numpy as np
import pytest

from blindsight.client.vectors import MAX_BLOCK_ROWS, as_matrix, blocks, check, checked_ids
from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.runtime.transfer import CHUNK_BYTES


def joined(matrix, ids=None):
    sent = [block.to_message() for block in blocks(as_matrix(matrix), ids)]
    data = b"".join(message.values for message in sent)
    values = np.frombuffer(data, "<f4").reshape(-1, as_matrix(matrix).shape[1])
    return values, [name for message in sent for name in message.ids], [len(one.values) for one in sent]


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f8", "i1", "u2", "i8"])
def test_numbers_of_every_kind_arrive_as_float32(kind):
    matrix = np.arange(12).reshape(4, 3).astype(kind)
    assert np.array_equal(joined(matrix)[0], np.arange(12, dtype=np.float32).reshape(4, 3))


def test_one_vector_is_one_row():
    assert as_matrix([1.0, 2.0, 3.0]).shape == (1, 3)


def test_rows_that_do_not_lie_together_in_memory_arrive_whole():
    matrix = np.asfortranarray(np.arange(20, dtype=np.float32).reshape(5, 4))[::2]
    assert np.array_equal(joined(matrix)[0], matrix)


@pytest.mark.parametrize("dimension", [1, 3, 128, 2048, 500_000])
def test_blocks_stay_under_a_message_and_keep_their_ids(dimension):
    rows = 3 if dimension > 10_000 else 10_000
    matrix = np.broadcast_to(np.float32(0.5), (rows, dimension))
    ids = [f"id-{row}" for row in range(rows)]
    values, named, sizes = joined(matrix, ids)
    assert len(values) == rows
    assert named == ids
    assert max(sizes) <= max(CHUNK_BYTES, 4 * dimension)
    assert max(sizes) <= MAX_BLOCK_ROWS * 4 * dimension


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("row", [0, 8_191, 9_999])
def test_a_value_that_is_no_finite_float32_is_refused_with_its_row(bad, row):
    matrix = np.ones((10_000, 3))
    matrix[row, 1] = bad
    with pytest.raises(InvalidVector, match=f"^row {row} has a NaN or a value that float32 cannot hold$"):
        check(matrix)


def test_a_zero_row_is_refused_only_where_a_direction_is_needed():
    matrix = np.ones((5, 2))
    matrix[3] = 0
    check(matrix)
    with pytest.raises(InvalidVector, match=r"^row 3 is zero"):
        check(matrix, nonzero=True)


def test_a_wrong_dimension_is_refused():
    with pytest.raises(InvalidVector, match="dimension 3, want 4"):
        check(np.ones((2, 3)), dimension=4)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 2), complex),
        np.array([["a"]]),
        np.array([[True]]),
        np.array([[object()]]),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        np.zeros((2, 2, 2)),
        np.float32(1),
        [[1.0], [1.0, 2.0]],
        [],
    ],
    ids=[
        "complex",
        "text",
        "bools",
        "objects",
        "no-rows",
        "no-columns",
        "a-cube",
        "a-number",
        "ragged",
        "none",
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(values):
    with pytest.raises(InvalidVector):
        as_matrix(values)


def test_a_mapped_file_is_not_read_at_once(tmp_path):
    np.save(tmp_path / "m.npy", np.ones((100, 4), np.float16))
    mapped = np.load(tmp_path / "m.npy", mmap_mode="r")
    assert isinstance(as_matrix(mapped), np.memmap)
    assert joined(mapped)[0].shape == (100, 4)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a"], "1 ids for 3 rows"),
        (["a", "b", "a"], "id 2 is the same as id 0"),
        (["a", "", "c"], "id 1 of 0 bytes"),
        (["a", "b", "c" * 513], "id 2 of 513 bytes, want 1 to 512"),
    ],
)
def test_ids_that_do_not_name_the_rows_are_refused(ids, said):
    with pytest.raises(InvalidArgument, match=said):
        checked_ids(ids, 3)


def test_good_ids_are_taken():
    checked_ids(["a", "ü" * 128, "c"], 3)
