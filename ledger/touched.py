"""What was changed in a sealed row: the one field whose old value gives the sealed hash again.

A hash tells only that a row is not what it was. But whoever changes a row changes one field, mostly, and what stood
there is seldom far: a value that other rows have too, a number near by, another moment of the same day. Each guess is
tried against the sealed hash, so what is found here is proved, and nothing is said that is not.
"""

from collections.abc import Collection, Iterator
from itertools import chain
from typing import NamedTuple

from ledger import merkle
from ledger.lines import KIND_OF_PREFIX

NEAR = 1_000
SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
# As many of each, before and after.
STEPS_OF_TIME = {1: 10, 1_000: 1_000, SECOND: 3_600, MINUTE: 1_440, HOUR: 1_000, DAY: 800}
FLAG_BITS = 9
NUMBERS_MAX = 100_000


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
    rows = [other.decode().split("|") for other in others]
    same, ids = [row for row in rows if row[0] == fields[0]], [row[1] for row in rows]
    for position, (name, form) in enumerate(kind.fields.items(), start=1):
        before, after = "|".join([*fields[:position], ""]), "|".join(["", *fields[position + 1 :]])
        known = [*(row[position] for row in same), *fields[1:], *(ids if form == "plain or none" else ())]
        if name == "xid":
            known += [str(xid) for xid in _numbers_between(rows)]
        for guess in chain(dict.fromkeys(known), _near(fields, position, form=form)):
            if merkle.leaf(f"{before}{guess}{after}".encode()) == leaf:
                return Change(name, guess, fields[position])
    return None


def _numbers_between(rows: list[list[str]]) -> range:
    """Give the transactions among which a row was sealed that now stands far away."""
    numbers = [int(row[-1]) for row in rows]
    return range(min(numbers, default=0), min(max(numbers, default=0), min(numbers, default=0) + NUMBERS_MAX))


def _near(fields: list[str], position: int, *, form: str) -> Iterator[str]:
    """Give what is often written where this field stands, or was before somebody changed it."""
    now = fields[position]
    yield from ('""', "", "0")
    if not now.removeprefix("-").isdecimal():
        return
    number = int(now)
    if form == "moment":
        for step, counts in STEPS_OF_TIME.items():
            yield from (str(number + step * count) for count in range(-counts, counts + 1))
        return
    yield from (str(number + distance) for distance in range(-NEAR, NEAR + 1))
    yield from (str(number ^ 1 << bit) for bit in range(FLAG_BITS))
    yield from (str(guess) for guess in (-number, number // 10, number // 100))
    yield from (str(number * factor + digit) for factor in (10, 100) for digit in range(factor))
    amounts = [int(field) for field in fields[2:-1] if field.isdecimal()]
    yield from (str(number + sign * amount) for amount in amounts for sign in (1, -1))
