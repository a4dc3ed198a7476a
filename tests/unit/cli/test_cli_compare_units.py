import pytest

from blindsight.cli.compare import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000034, "3.4 µs"),
        (0.00042, "420 µs"),
        (0.0072, "7.2 ms"),
        (0.0621, "62.1 ms"),
        (0.9996, "1 s"),
        (2.0, "2 s"),
        (97.89, "97.9 s"),
        (227.42, "3.8 min"),
        (7200, "2 h"),
        (360_000, "100 h"),
    ],
)
def test_a_time_has_the_unit_that_fits(seconds, text):
    assert units.seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(12, "12 B"), (12_288, "12.3 KB"), (994_000, "994 KB"), (999_999, "1 MB"), (25.3e9, "25.3 GB")],
)
def test_bytes_come_in_thousands(count, text):
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (3.14e-6, "3.1 × 10⁻⁶"),
        (9.99e-5, "1.0 × 10⁻⁴"),
        (1.234e-4, "1.2 × 10⁻⁴"),
        (0.021, "0.021"),
        (40.07, "40.1"),
        (846.63, "847"),
        (2e-16, "none"),
        (0.0, "none"),
        (None, "no number"),
    ],
)
def test_an_error_is_written_so_that_its_size_is_seen(error, text):
    assert units.error(error) == text


@pytest.mark.parametrize(("ratio", "text"), [(1.62, "1.6"), (39.4, "39"), (1234.0, "1,200")])
def test_a_ratio_has_two_digits_that_count(ratio, text):
    assert units.times(ratio) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.000"), (-0.4, "\N{MINUS SIGN}0.400"), (-846.63, "\N{MINUS SIGN}847")]
)
def test_a_similarity_has_three_places_until_it_is_none(value, text):
    assert units.similarity(value) == text
