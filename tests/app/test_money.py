from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.money import parse_yuan, round_half_up, split_largest_remainder, split_rest_to_first, yuan

amounts = st.integers(0, 10**12)
weights = st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(any)


def test_three_ways_with_the_rest_to_the_first() -> None:
    assert [yuan(share) for share in split_rest_to_first(10_50, (3334, 3333, 3333))] == ["3.52", "3.49", "3.49"]


def test_a_short_pool_is_shared_by_largest_remainder() -> None:
    shares = split_largest_remainder(200_000_00, (200_000_00, 80_000_00, 0))
    assert [yuan(share) for share in shares] == ["142,857.14", "57,142.86", "0.00"]


@pytest.mark.parametrize("split", [split_rest_to_first, split_largest_remainder])
@given(amount_fen=amounts, by=weights)
def test_a_split_loses_nothing(
    split: Callable[[int, list[int]], tuple[int, ...]], amount_fen: int, by: list[int]
) -> None:
    shares = split(amount_fen, by)
    assert sum(shares) == amount_fen
    assert min(shares) >= 0


@given(amount_fen=amounts, by=weights)
def test_largest_remainder_is_within_a_fen_of_the_exact_share(amount_fen: int, by: list[int]) -> None:
    for share, weight in zip(split_largest_remainder(amount_fen, by), by, strict=True):
        assert abs(share * sum(by) - amount_fen * weight) < sum(by)


@pytest.mark.parametrize("by", [(), (0, 0), (1, -1)])
def test_weights_that_mean_nothing_are_refused(by: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="weights"):
        split_rest_to_first(1_00, by)


@given(st.integers(-(10**14), 10**14))
def test_yuan_is_read_as_it_is_written(amount_fen: int) -> None:
    assert parse_yuan(yuan(amount_fen)) == amount_fen


@pytest.mark.parametrize(("text", "amount_fen"), [("5", 5_00), ("5.5", 5_50), (" 1,234.50 ", 1_234_50), ("-0.01", -1)])
def test_people_may_leave_out_what_is_nought(text: str, amount_fen: int) -> None:
    assert parse_yuan(text) == amount_fen


@pytest.mark.parametrize(
    "text", ["", "1.005", "1,23.00", "12,34", "１２", "1e3", "0x10", "1.", ".5", "1 000", "¥5", "NaN"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="yuan"):
        parse_yuan(text)


@pytest.mark.parametrize(("numerator", "rounded"), [(1, 1), (-1, -1), (3, 2), (-3, -2), (2, 1), (0, 0)])
def test_a_half_is_rounded_away_from_zero_so_that_a_reversal_mirrors_its_charge(numerator: int, rounded: int) -> None:
    assert round_half_up(Fraction(numerator, 2)) == rounded
