"""Money in code is an integer of fen; here it becomes text and back, is rounded, and is split without losing any."""

import re
from collections.abc import Sequence
from fractions import Fraction

FEN_PER_YUAN = 100
# Yuan with or without thousands separators, and at most two decimals; nothing else is an amount.
_YUAN = re.compile(r"^(-?)(\d{1,3}(?:,\d{3})+|\d{1,13})(?:\.(\d{1,2}))?$")


def yuan(amount_fen: int) -> str:
    """Write fen as yuan for people: 123450 → "1,234.50"."""
    whole, cents = divmod(abs(amount_fen), FEN_PER_YUAN)
    return f"{'-' if amount_fen < 0 else ''}{whole:,}.{cents:02}"


def parse_yuan(text: str) -> int:
    """Read yuan as people write them: "1,234.5" → 123450 fen. Raises ValueError on anything else."""
    found = _YUAN.fullmatch(text.strip())
    if found is None or not text.isascii():
        raise ValueError("not an amount of yuan with at most two decimals")
    sign, whole, cents = found.groups()
    amount_fen = int(whole.replace(",", "")) * FEN_PER_YUAN + int((cents or "").ljust(2, "0"))
    return -amount_fen if sign else amount_fen


def round_half_up(exact_fen: Fraction) -> int:
    """Round to whole fen, the half away from zero, so that a reversal mirrors its charge."""
    rounded = (abs(exact_fen.numerator) * 2 + exact_fen.denominator) // (2 * exact_fen.denominator)
    return -rounded if exact_fen < 0 else rounded


def split_rest_to_first(amount_fen: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split an amount by weights, each share rounded down, and the rest to the first.

    10.50 by 33.34/33.33/33.33 → 3.52/3.49/3.49. Raises ValueError for negative weights or none above zero.
    """
    shares = [int(share) for share in _exact_shares(amount_fen, weights)]
    shares[0] += amount_fen - sum(shares)
    return tuple(shares)


def split_largest_remainder(amount_fen: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split an amount by weights, each rounded down, and the rest fen by fen to the largest remainders.

    Between equal remainders the earlier one gets it. 200,000.00 by 200,000/80,000/0 → 142,857.14/57,142.86/0.00.
    Raises ValueError for negative weights or none above zero.
    """
    exact = _exact_shares(amount_fen, weights)
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(shares)), key=lambda place: (shares[place] - exact[place], place))
    for place in by_remainder[: amount_fen - sum(shares)]:
        shares[place] += 1
    return tuple(shares)


def _exact_shares(amount_fen: int, weights: Sequence[int]) -> list[Fraction]:
    if amount_fen < 0 or not weights or min(weights) < 0 or sum(weights) == 0:
        raise ValueError("an amount is split by weights that are not negative and not all zero")
    return [Fraction(amount_fen * weight, sum(weights)) for weight in weights]
