"""What was changed in a sealed row: the one field whose old value gives the sealed hash again.

A hash tells only that a row is not what it was. But whoever changes a row changes one field, mostly, and what stood
there is seldom far: a value that other rows have too, a number near by, another moment of the same day. Each guess is
tried against the sealed hash, so what is found here is proved, and nothing is said that is not.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ledger import merkle
from ledger.lines import KIND_OF_PREFIX

NEAR = 1_000
SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
# As many of each, before and after.
STEPS_OF_TIME = {1: 10, 1_000: 1_000, SECOND: 3_600, MINUTE: 1_440, HOUR: 1_000, DAY: 800}
VALUES_MAX = 5_000


class Change(NamedTuple):
    """One field of a row: what was sealed, and what stands there now."""

    field: str
    was: str
    now: str


def find_change(line: bytes, *, leaf: bytes, others: Collection[bytes]) -> Change | None:
    """Give the one field of the row that was changed since its hash was sealed; None if it cannot be told.

    `others` are lines of the same books whose values may have stood here.
    """
    fields = line.decode().split("|")
    kind = KIND_OF_PREFIX[fields[0]]
    same = [other for other in (line.decode().split("|") for line in others) if other[0] == fields[0]]
    for position, (name, form) in enumerate(kind.fields.items(), start=1):
        before, after = "|".join([*fields[:position], ""]), "|".join(["", *fields[position + 1 :]])
        for guess in _guesses(fields, position, form=form, same=same):
            if merkle.leaf(f"{before}{guess}{after}".encode()) == leaf:
                return Change(name, guess, fields[position])
    return None


def _guesses(fields: list[str], position: int, *, form: str, same: Iterable[list[str]]) -> Iterator[str]:
    now = fields[position]
    yield from list(dict.fromkeys(other[position] for other in same))[:VALUES_MAX]
    yield from fields[1:]
    if form == "text":
        yield '""'
    if not now.removeprefix("-").isdecimal():
        return
    number = int(now)
    if form == "moment":
        yield from (
            str(number + sign * step * count)
            for step, counts in STEPS_OF_TIME.items()
            for count in range(1, counts + 1)
            for sign in (1, -1)
        )
        return
    yield from (str(number + distance) for distance in range(-NEAR, NEAR + 1))
    yield from (str(number ^ 1 << bit) for bit in range(9))
    yield from (str(guess) for guess in (-number, number // 10, number // 100))
    yield from (str(number * factor + digit) for factor in (10, 100) for digit in range(factor))
    amounts = [int(field) for field in fields[2:-1] if field.isdecimal()]
    yield from (str(number + sign * amount) for amount in amounts for sign in (1, -1))
