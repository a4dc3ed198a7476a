"""Every additive scheme does all that its row claims, equal to numpy's integers, and refuses the rest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support.additive import evaluator, key, sent

from blindsight.additive import SCHEMES, AdditiveScheme, Operation, to_fixed_point
from blindsight.additive.layout import MOST_RESULT_BITS
from blindsight.errors import InvalidArgument, InvalidCiphertext

GUARD_BITS = 4
CLAIMS = [(scheme, operation) for scheme, info in SCHEMES.items() for operation in info.operations]
UNCLAIMED = [
    (scheme, op) for scheme, info in SCHEMES.items() for op in Operation if op not in info.operations
]
VALUES = st.integers(-255, 255)
few = settings(max_examples=6)


def name(value):
    return SCHEMES[value].name if isinstance(value, AdditiveScheme) else value.value


def every(operation):
    able = [scheme for scheme, claimed in CLAIMS if claimed is operation]
    return pytest.mark.parametrize("scheme", able, ids=name)


@st.composite
def planes(draw, count):
    """So many arrays of one shape."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5)))
    return [draw(arrays(np.int64, shape, elements=VALUES)) for _ in range(count)]


@st.composite
def weights(draw, count):
    """Weights of both signs whose magnitudes sum to at most 2^GUARD_BITS."""
    return draw(
        st.lists(st.integers(-16, 16), min_size=count, max_size=count).filter(
            lambda all_of_them: sum(map(abs, all_of_them)) <= 1 << GUARD_BITS
        )
    )


def opened(scheme, block):
    """What the keyholder makes of an answer from the wire."""
    holder = key(scheme)
    return holder.decrypt(holder.read(block.to_bytes()))


def applied(scheme, operation, first, second):
    """An operation, by the evaluator."""
    public = evaluator(scheme)
    return {
        Operation.SUM: lambda: public.add(first, second),
        Operation.DIFFERENCE: lambda: public.subtract(first, second),
        Operation.WEIGHTED_SUM: lambda: public.weighted_sum([first, second], [3, -2]),
        Operation.RERANDOMISATION: lambda: public.rerandomise(first),
    }[operation]()


def test_every_scheme_has_a_row_with_a_claim():
    assert set(SCHEMES) == set(AdditiveScheme)
    assert {scheme for scheme, _ in CLAIMS} == set(AdditiveScheme)


@pytest.mark.parametrize("scheme", AdditiveScheme, ids=name)
def test_a_key_has_the_room_that_the_table_states(scheme):
    stated, has = SCHEMES[scheme].message_bits, key(scheme).public_key.group.message_bits
    assert has == stated if stated else has >= MOST_RESULT_BITS


@pytest.mark.parametrize("scheme", AdditiveScheme, ids=name)
@few
@given(planes(1))
def test_values_come_back(scheme, drawn):
    np.testing.assert_array_equal(opened(scheme, sent(scheme, drawn[0])), drawn[0])


@every(Operation.SUM)
@few
@given(planes(2))
def test_sums_equal_numpys(scheme, drawn):
    first, second = drawn
    total = evaluator(scheme).add(sent(scheme, first), sent(scheme, second))
    np.testing.assert_array_equal(opened(scheme, total), first + second)


@every(Operation.DIFFERENCE)
@few
@given(planes(2))
def test_differences_equal_numpys(scheme, drawn):
    first, second = drawn
    difference = evaluator(scheme).subtract(sent(scheme, first), sent(scheme, second))
    np.testing.assert_array_equal(opened(scheme, difference), first - second)


@every(Operation.WEIGHTED_SUM)
@few
@given(planes(3), weights(3))
def test_weighted_sums_equal_numpys(scheme, drawn, factors):
    blocks = [sent(scheme, plane) for plane in drawn]
    answer = evaluator(scheme).weighted_sum(blocks, factors)
    np.testing.assert_array_equal(opened(scheme, answer), np.tensordot(factors, np.stack(drawn), 1))


@every(Operation.WEIGHTED_SUM)
def test_operations_on_answers_equal_numpys(scheme):
    first, second = np.random.default_rng(3).integers(-255, 256, (2, 2, 3))
    one, two, public = sent(scheme, first), sent(scheme, second), evaluator(scheme)
    answer = public.subtract(public.weighted_sum([one, two], [2, -5]), public.add(two, two))
    np.testing.assert_array_equal(opened(scheme, answer), 2 * first - 7 * second)


@every(Operation.WEIGHTED_SUM)
def test_a_search_with_the_query_in_the_clear_equals_numpys_inner_products(scheme):
    rng = np.random.default_rng(4)
    gallery, query = rng.integers(-255, 256, (4, 6)), np.array([5, -4, 0, 7])
    answer = evaluator(scheme).inner_products(sent(scheme, gallery), query)
    np.testing.assert_array_equal(opened(scheme, answer), query[None] @ gallery)


@every(Operation.WEIGHTED_SUM)
def test_fixed_point_values_and_weights_multiply_their_scales(scheme):
    values, factors = np.array([[0.5, -0.75, 3.25]]), [1.5, -0.5]
    block = sent(scheme, to_fixed_point(values, 4), scale_bits=4)
    answer = evaluator(scheme).weighted_sum(
        [block, block], to_fixed_point(factors, 2).tolist(), weight_scale_bits=2
    )
    scale = 2.0**-answer.header.layout.scale_bits
    np.testing.assert_array_equal(opened(scheme, answer) * scale, values * sum(factors))


@every(Operation.RERANDOMISATION)
def test_rerandomised_ciphertexts_differ_and_hold_the_same(scheme):
    values = np.array([[1, -2, 3]])
    block = sent(scheme, values)
    again = evaluator(scheme).rerandomise(block)
    assert not set(again.numbers) & set(block.numbers)
    np.testing.assert_array_equal(opened(scheme, again), values)


@every(Operation.RERANDOMISATION)
def test_what_cancels_out_is_zero_and_can_be_rerandomised(scheme):
    public, block = evaluator(scheme), sent(scheme, np.array([[7, -7]]))
    nothing = public.subtract(block, block)
    np.testing.assert_array_equal(opened(scheme, nothing), [[0, 0]])
    np.testing.assert_array_equal(opened(scheme, public.rerandomise(nothing)), [[0, 0]])


@every(Operation.RERANDOMISATION)
def test_equal_values_have_different_ciphertexts(scheme):
    same = np.zeros((3, 1), np.int64)
    numbers = sent(scheme, same).numbers
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(("scheme", "operation"), UNCLAIMED, ids=name)
def test_what_a_scheme_cannot_do_is_refused_with_what_it_can(scheme, operation):
    block = sent(scheme, np.array([[1]]))
    with pytest.raises(InvalidArgument, match=f"cannot do {operation.value}, it can do") as refused:
        applied(scheme, operation, block, block)
    assert all(able.value in refused.value.message for able in SCHEMES[scheme].operations)


@pytest.mark.parametrize("scheme", AdditiveScheme, ids=name)
def test_values_over_the_bound_are_refused_before_encryption_with_the_bound(scheme):
    with pytest.raises(InvalidArgument, match="would overflow: want less than 256 in magnitude"):
        sent(scheme, np.array([[256]]))


@every(Operation.WEIGHTED_SUM)
def test_weights_over_the_guard_bits_are_refused_with_the_bound(scheme):
    block = sent(scheme, np.array([[1]]))
    with pytest.raises(InvalidArgument, match="sum to 17, want at most 16"):
        evaluator(scheme).weighted_sum([block, block], [8, -9])


@every(Operation.SUM)
def test_growth_is_remembered_from_operation_to_operation(scheme):
    public, block = evaluator(scheme), sent(scheme, np.array([[255]]), guard_bits=1)
    doubled = public.add(block, block)
    assert opened(scheme, doubled).tolist() == [[510]]
    with pytest.raises(InvalidArgument, match="sum to 3, want at most 2"):
        public.add(doubled, block)


@pytest.mark.parametrize("scheme", AdditiveScheme, ids=name)
def test_ciphertexts_of_another_scheme_are_refused(scheme):
    other = next(one for one in AdditiveScheme if one is not scheme)
    data = key(other).encrypt(np.array([[1]]), value_bits=8, guard_bits=1).to_bytes()
    with pytest.raises(InvalidCiphertext, match=f"ciphertexts of {name(other)}, want {name(scheme)}"):
        evaluator(scheme).read(data)


@pytest.mark.parametrize("scheme", AdditiveScheme, ids=name)
def test_a_key_that_was_kept_opens_what_it_encrypted_before(scheme):
    block = sent(scheme, np.array([[12, -34]]))
    again = type(key(scheme)).from_secret(key(scheme).to_secret(), insecure_small_keys=True)
    assert again.decrypt(block).tolist() == [[12, -34]]
