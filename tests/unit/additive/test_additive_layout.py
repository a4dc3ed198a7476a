"""Packing: slots, guard bits, and what is refused before anything is encrypted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blindsight.additive import AdditiveScheme, Layout, by_name, to_fixed_point
from blindsight.additive.fixed_base import FixedBase
from blindsight.additive.layout import plan
from blindsight.errors import InvalidArgument, InvalidCiphertext


@given(st.data())
def test_packing_and_unpacking_are_inverse_at_every_width(data):
    value_bits = data.draw(st.integers(1, 62))
    guard_bits = data.draw(st.integers(0, 62 - value_bits))
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 9)))
    layout = plan(shape, data.draw(st.integers(62, 300)), value_bits, guard_bits)
    most = (1 << value_bits) - 1
    values = data.draw(arrays(np.int64, shape, elements=st.integers(-most, most)))
    np.testing.assert_array_equal(layout.unpack(layout.pack(values)), values)


@given(st.data())
def test_slots_at_their_bounds_do_not_touch_their_neighbours(data):
    guard_bits = data.draw(st.integers(0, 8))
    layout = plan((1, 7), 200, 8, guard_bits)
    values = data.draw(arrays(np.int64, (1, 7), elements=st.sampled_from([-255, 0, 255])))
    weight = data.draw(st.sampled_from([1, -1])) * layout.most_growth
    messages = [weight * message for message in layout.pack(values)]
    np.testing.assert_array_equal(layout.unpack(messages), weight * values)


def test_a_message_stays_below_its_bits():
    layout = plan((1, 1000), 3070, 8, 8)
    assert layout.per_ciphertext == 3071 // 17
    widest = max(map(abs, layout.pack(np.full((1, 1000), 255)))) * layout.most_growth
    assert widest < 1 << 3070


def test_rows_are_packed_by_themselves():
    layout = plan((3, 5), 40, 8, 1)
    assert (layout.per_ciphertext, layout.per_row, layout.count) == (4, 2, 6)


def test_a_layout_that_no_message_can_hold_is_refused_with_the_bound():
    with pytest.raises(InvalidArgument, match="8 value bits and 13 guard bits would overflow"):
        plan((1, 1), 20, 8, 13)
    assert plan((1, 9), 20, 8, 12).per_ciphertext == 1


def test_results_past_62_bits_are_refused():
    with pytest.raises(InvalidArgument, match="guard bits"):
        plan((1, 1), 1000, 32, 31)


@pytest.mark.parametrize("value", [256, -256, 2**40])
def test_values_over_the_bound_are_refused_with_the_bound(value):
    with pytest.raises(InvalidArgument, match="want less than 256 in magnitude"):
        plan((1, 1), 100, 8, 1).pack(np.array([[value]]))


def test_values_that_are_no_integers_or_of_another_shape_are_refused():
    layout = plan((1, 2), 100, 8, 1)
    with pytest.raises(InvalidArgument, match="want integers"):
        layout.pack(np.array([[0.5, 1.0]]))
    with pytest.raises(InvalidArgument, match="of shape"):
        layout.pack(np.array([[1]]))


@pytest.mark.parametrize("message", [1 << 40, -(1 << 40)])
def test_a_message_wider_than_its_slots_is_refused(message):
    with pytest.raises(InvalidCiphertext, match="does not fit its slots"):
        Layout(1, 2, 2, 8, 1).unpack([message])


def test_fixed_point_rounds_to_the_nearest_and_refuses_what_would_overflow():
    assert to_fixed_point([0.5, -0.26, 1.0], 2).tolist() == [2, -1, 4]
    for bad in (np.nan, np.inf, 2.0**60):
        with pytest.raises(InvalidArgument, match="would overflow at 4 scale bits"):
            to_fixed_point([bad], 4)


def test_schemes_go_by_name_and_an_unknown_one_is_told_which_there_are():
    assert by_name("lightphe-ec-elgamal") is AdditiveScheme.LIGHTPHE_EC_ELGAMAL
    with pytest.raises(InvalidArgument, match="want one of paillier, scramble, lightphe-paillier"):
        by_name("rsa")


@given(st.integers(0, (1 << 37) - 1), st.integers(1, 9))
def test_a_table_of_powers_equals_pythons_power(exponent, window):
    modulus = (1 << 61) - 1
    assert FixedBase(3, modulus, 37, window).power(exponent) == pow(3, exponent, modulus)


def test_a_table_refuses_a_wider_exponent():
    with pytest.raises(ValueError, match="wider"):
        FixedBase(3, 101, 8, 4).power(1 << 8)
