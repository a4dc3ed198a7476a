"""What a scheme can do, and how much it has room for."""

import pytest

from blindsight.additive import SCHEMES, AdditiveScheme, Operation
from blindsight.additive.schemes import key_bits, operation_of, require_room, warning
from blindsight.errors import InvalidArgument


@pytest.mark.parametrize(
    ("weights", "operation"),
    [
        ([], Operation.SUM),
        ([1, 1, 1], Operation.SUM),
        ([1, -1], Operation.DIFFERENCE),
        ([-1, 1], Operation.DIFFERENCE),
        ([-1, -1], Operation.WEIGHTED_SUM),
        ([1, 1, -1], Operation.WEIGHTED_SUM),
        ([2], Operation.WEIGHTED_SUM),
        ([0, 0], Operation.WEIGHTED_SUM),
    ],
)
def test_weights_say_which_operation_it_is(weights, operation):
    assert operation_of(weights) is operation


@pytest.mark.parametrize("scheme", AdditiveScheme)
def test_the_room_of_a_message_is_what_the_table_says(scheme):
    room = SCHEMES[scheme].message_bits
    if not room:
        require_room(scheme, 30, 32)
        return
    require_room(scheme, 8, room - 8)
    with pytest.raises(InvalidArgument, match=f"has {room} bits"):
        require_room(scheme, 8, room - 7)


def test_scramble_and_small_keys_have_a_warning_and_nothing_else_has():
    for scheme, info in SCHEMES.items():
        assert bool(warning(scheme, info.fixed_bits or 2048)) == (scheme is AdditiveScheme.SCRAMBLE)
        assert bool(warning(scheme, info.fixed_bits or 2047)) == (
            scheme is AdditiveScheme.SCRAMBLE or not info.fixed_bits
        )


def test_a_group_that_is_not_at_hand_is_refused_by_name():
    with pytest.raises(InvalidArgument, match="4096 bits, want 2048 or 3072"):
        key_bits(AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL, 4096)
