from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hami_dra.model import quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10Gi", 10 * 1024**3),
        ("23028Mi", 23028 * 1024**2),
        ("10737418240", 10737418240),
        (50, 50),
        ("500m", Fraction(1, 2)),
        ("1k", 1000),
        ("1.5e3", 1500),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("-2", -2),
        (".5", Fraction(1, 2)),
        ("5.", 5),
    ],
)
def test_every_form_of_a_quantity_has_its_exact_value(text, value):
    assert quantity.parse(text) == value


@pytest.mark.parametrize("text", ["", "ten", "10 Gi", "10gi", "1e", "--1", "1Gi1", "0x10", "NaN", "١٢"])
def test_text_that_is_no_quantity_is_refused_with_the_text_in_the_message(text):
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.parse(text)


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "1E+1000"])
def test_an_exponent_that_no_amount_has_costs_no_time_and_no_memory(text):
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.parse(text)


def test_whole_numbers_round_up_as_the_scheduler_does():
    assert quantity.parse_int("500m") == 1
    assert quantity.parse_int("1.0000001") == 2


@given(st.integers(min_value=0, max_value=2**62))
def test_formatted_bytes_read_back_as_the_same_number(value):
    assert quantity.parse(quantity.format_bytes(value)) == value


def test_a_cards_memory_is_printed_as_the_guide_prints_it():
    assert quantity.format_bytes(23028 * 1024**2) == "23028Mi"
    assert quantity.format_bytes(10 * 1024**3) == "10Gi"
    assert quantity.format_bytes(0) == "0"
