"""Card and account numbers: random digits with a check digit, and how little of them is ever shown."""

import secrets

CARD_PREFIX = "9156"
CARD_DIGITS = 16
ACCOUNT_DIGITS = 10
SHOWN_DIGITS = 4


def check_digit(digits: str) -> str:
    """Give the Luhn digit (ISO/IEC 7812-1) that makes a mistyped digit or a swapped pair visible."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if position % 2 == 0 else 1)
        total += doubled // 10 + doubled % 10
    return str(-total % 10)


def is_valid(number: str) -> bool:
    """Tell whether the last digit fits the others."""
    return number.isascii() and number.isdigit() and len(number) > 1 and check_digit(number[:-1]) == number[-1]


def new_card_number() -> str:
    """Give a face number; random, so that one card's number says nothing about another's."""
    return _with_check_digit(CARD_PREFIX + _random_digits(CARD_DIGITS - len(CARD_PREFIX) - 1))


def new_account_number() -> str:
    """Give an account number."""
    return _with_check_digit(str(1 + secrets.randbelow(9)) + _random_digits(ACCOUNT_DIGITS - 2))


def plain(number: str) -> str:
    """Give a number as it was typed without what people put between the digits."""
    return number.replace("-", "").replace(" ", "")


def masked_number(number: str) -> str:
    """Give what may be shown of a card's number: its last four digits."""
    return f"**** {number[-SHOWN_DIGITS:]}"


def masked_name(name: str) -> str:
    """Give what may be shown of a name: its first character."""
    return f"{name[:1]}**"


def _with_check_digit(digits: str) -> str:
    return digits + check_digit(digits)


def _random_digits(count: int) -> str:
    return f"{secrets.randbelow(10**count):0{count}d}"
