"""Card numbers: a mistyped digit is always seen, and a whole number never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cards import numbers

DIGITS = st.text("0123456789", min_size=1, max_size=18)


@pytest.mark.parametrize("number", ["79927398713", "4111111111111111", "18"])
def test_numbers_that_others_call_valid(number: str) -> None:
    assert numbers.is_valid(number)


@pytest.mark.parametrize("number", ["79927398710", "", "0", "12a4", "９９", "-18"])
def test_what_is_no_number(number: str) -> None:
    assert not numbers.is_valid(number)


@given(DIGITS, st.data())
def test_one_wrong_digit_is_always_seen(digits: str, data: st.DataObject) -> None:
    number = digits + numbers.check_digit(digits)
    place = data.draw(st.integers(0, len(number) - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != number[place]]))

    assert numbers.is_valid(number)
    assert not numbers.is_valid(number[:place] + other + number[place + 1 :])


def test_new_numbers_are_valid_and_of_fixed_length() -> None:
    for _ in range(200):
        card, account = numbers.new_card_number(), numbers.new_account_number()
        assert numbers.is_valid(card)
        assert len(card) == 16
        assert numbers.is_valid(account)
        assert len(account) == 10
