"""PostgreSQL's arrays in binary, one call a column.

The driver writes a list element by element in Python, and types a list of numbers by its greatest: of a batch of a
thousand transfers that was the dearest step. Here a column is packed at once, as the type it is written for. The form
is PostgreSQL's own (`array_recv` in src/backend/utils/adt/arrayfuncs.c): dimensions, whether nulls occur, the element's
type, length and lower bound, then each element behind its length in bytes, -1 for null.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SIXTEEN = (16).to_bytes(4)
_NULL = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Array:
    """A column as the driver sends it: ready bytes and the array type's number."""

    data: bytes
    oid: int


class _Ready(Dumper):
    """Sends an Array as it stands."""

    format = Format.BINARY

    def get_key(self, obj: Array, format: Any) -> Any:  # noqa: A002, ARG002 - the driver's own names
        return (type(obj), obj.oid)

    def upgrade(self, obj: Array, format: Any) -> "_Ready":  # noqa: A002, ARG002 - the driver's own names
        dumper = _Ready(type(obj))
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: Array) -> bytes:
        return obj.data


psycopg.adapters.register_dumper(Array, _Ready)


class _Type(NamedTuple):
    oid: int
    array_oid: int
    elements: Callable[[Sequence[Any]], bytes]
    nullable_elements: Callable[[Sequence[Any]], bytes] | None = None


def array(type_: str, values: Sequence[Any]) -> Array:
    """Give the values as an array of `type_`: uuid, bigint, integer, smallint, boolean, text, bytea or timestamptz.

    None is null in arrays of uuid, text, bytea and timestamptz. Raises struct.error for a number out of range.
    """
    found = _TYPES[type_]
    if not values:
        return Array(struct.pack("!3i", 0, 0, found.oid), found.array_oid)
    has_null, elements = _elements(found, values)
    return Array(struct.pack("!5i", 1, int(has_null), found.oid, len(values), 1) + elements, found.array_oid)


def _elements(type_: _Type, values: Sequence[Any]) -> tuple[bool, bytes]:
    """Pack the values; the columns of a batch are null in every row, or in none, and are not looked through for it."""
    if type_.nullable_elements is None:
        return False, type_.elements(values)
    if values[0] is None:
        is_all_null = values.count(None) == len(values)
        return True, _NULL * len(values) if is_all_null else type_.nullable_elements(values)
    try:
        return False, type_.elements(values)
    except (AttributeError, TypeError):  # what a None does not have
        return True, type_.nullable_elements(values)


@lru_cache(maxsize=1024)
def _numbers_struct(letter: str, count: int) -> struct.Struct:
    return struct.Struct("!" + ("i" + letter) * count)


def _numbers(letter: str, values: Sequence[int]) -> bytes:
    flat = [struct.calcsize("!" + letter)] * (2 * len(values))
    flat[1::2] = values
    return _numbers_struct(letter, len(values)).pack(*flat)


def _moments(values: Sequence[datetime]) -> bytes:
    # Most of a batch's are one object. Equal ones may differ: a zone's repeated hour is equal to itself an hour later.
    unique = {id(value): value for value in values}
    ticks = {key: (value - _EPOCH) // _MICROSECOND for key, value in unique.items()}
    return _numbers("q", [ticks[id(value)] for value in values])


def _uuids(values: Sequence[UUID]) -> bytes:
    return _SIXTEEN + _SIXTEEN.join([value.int.to_bytes(16) for value in values])


def _texts(values: Sequence[str]) -> bytes:
    return _byte_strings([value.encode() for value in values])


def _byte_strings(values: Sequence[bytes]) -> bytes:
    return b"".join([len(value).to_bytes(4) + value for value in values])


def _nullable(elements: Callable[[Sequence[Any]], bytes], values: Sequence[Any]) -> bytes:
    return b"".join([_NULL if value is None else elements((value,)) for value in values])


_TYPES = {
    "uuid": _Type(2950, 2951, _uuids, partial(_nullable, _uuids)),
    "bigint": _Type(20, 1016, partial(_numbers, "q")),
    "integer": _Type(23, 1007, partial(_numbers, "i")),
    "smallint": _Type(21, 1005, partial(_numbers, "h")),
    "boolean": _Type(16, 1000, partial(_numbers, "?")),
    "text": _Type(25, 1009, _texts, partial(_nullable, _texts)),
    "bytea": _Type(17, 1001, _byte_strings, partial(_nullable, _byte_strings)),
    "timestamptz": _Type(1184, 1185, _moments, partial(_nullable, _moments)),
}
