"""Frozen dataclasses to JSON and strictly back: one reader for every message, so that none forgets a check."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from card_terminal.protocol.refusals import ProtocolError, RefusalCode

Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class Between:
    """The whole numbers that a field may hold, both ends included."""

    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class Text:
    """The strings that a field may hold: length in characters, and a pattern of the whole."""

    longest: int
    shortest: int = 1
    pattern: str = r"[^\x00]*"


@dataclass(frozen=True, slots=True)
class AtMost:
    """How many items a list may hold."""

    items: int


class MessageError(ProtocolError):
    """The message does not have the promised shape; the text names the field."""

    def __init__(self, detail: str) -> None:
        super().__init__(RefusalCode.MESSAGE_INVALID, detail)


def parse(shape: type[Shape], value: object, *, where: str = "message", strict: bool = True) -> Shape:
    """Give `value`, fresh from JSON, as `shape`.

    A strict reader refuses fields that it does not know (the server reads terminals so: it is always upgraded first);
    a tolerant one passes over them (terminals read the server so). Raises MessageError, and nothing else.
    """
    parsed: Shape = _read(shape, value, where, strict=strict)
    return parsed


def to_dict(value: object) -> dict[str, Any]:
    """Give a dataclass as what JSON can hold; `None` is left out, as absent and null mean the same."""
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{value!r} is no message")
    names = [field.name for field in fields(value)]
    present = {name: _plain(getattr(value, name)) for name in names if getattr(value, name) is not None}
    tag = getattr(value, "TAG", None)
    return {tag[0]: tag[1], **present} if tag else present


def _plain(value: object) -> object:
    if is_dataclass(value):
        return to_dict(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _read(hint: Any, value: object, where: str, *, strict: bool) -> Any:
    limits: tuple[object, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        limits = tuple(rest)
    if get_origin(hint) in (Union, UnionType):
        return _read_union(get_args(hint), value, where, strict=strict)
    if get_origin(hint) is tuple:
        return _read_list(get_args(hint)[0], value, where, limits, strict=strict)
    if is_dataclass(hint):
        return _read_object(hint, value, where, strict=strict)
    return _read_scalar(hint, value, where, limits)


def _read_union(choices: tuple[Any, ...], value: object, where: str, *, strict: bool) -> Any:
    if value is None and NoneType in choices:
        return None
    present = [choice for choice in choices if choice is not NoneType]
    if len(present) == 1:
        return _read(present[0], value, where, strict=strict)
    tags = {choice.TAG[1]: choice for choice in present}
    tag_name = present[0].TAG[0]
    tag = _object(value, where).get(tag_name)
    if not isinstance(tag, str) or tag not in tags:
        raise MessageError(f"{where}.{tag_name} must be one of {', '.join(sorted(tags))}")
    return _read_object(tags[tag], value, where, strict=strict)


def _read_list(item: Any, value: object, where: str, limits: tuple[object, ...], *, strict: bool) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise MessageError(f"{where} must be a list")
    for limit in limits:
        if isinstance(limit, AtMost) and len(value) > limit.items:
            raise MessageError(f"{where} may hold at most {limit.items} items")
    return tuple(_read(item, each, f"{where}[{index}]", strict=strict) for index, each in enumerate(value))


def _read_object(shape: Any, value: object, where: str, *, strict: bool) -> Any:
    given = _object(value, where)
    hints = _hints(shape)
    tag_name = shape.TAG[0] if hasattr(shape, "TAG") else None
    unknown = [name for name in given if name not in hints and name != tag_name]
    if strict and unknown:
        raise MessageError(f"{where} has unknown fields: {', '.join(sorted(name[:40] for name in unknown)[:5])}")
    return shape(
        **{
            field.name: _read(hints[field.name], given[field.name], f"{where}.{field.name}", strict=strict)
            for field in fields(shape)
            if _expected(field, given, where)
        }
    )


def _expected(field: Field[Any], given: Mapping[str, object], where: str) -> bool:
    if field.name in given:
        return True
    if field.default is MISSING:
        raise MessageError(f"{where}.{field.name} is missing")
    return False


@cache
def _hints(shape: Any) -> dict[str, Any]:
    hints = get_type_hints(shape, include_extras=True)
    return {field.name: hints[field.name] for field in fields(shape)}


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise MessageError(f"{where} must be an object")
    return value


def _read_scalar(hint: Any, value: object, where: str, limits: tuple[object, ...]) -> Any:
    if hint is UUID:
        return _read_uuid(value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _read_enum(hint, value, where)
    if type(value) is not hint:
        raise MessageError(f"{where} must be {_WORDS[hint]}")
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        # Half a surrogate pair is text to JSON, and to no database, screen or hash.
        raise MessageError(f"{where} has characters that are none")
    for limit in limits:
        _check(limit, value, where)
    return value


_WORDS = {int: "a whole number", str: "a string", bool: "true or false"}


def _check(limit: object, value: object, where: str) -> None:
    if isinstance(limit, Between) and isinstance(value, int) and not limit.lowest <= value <= limit.highest:
        raise MessageError(f"{where} must be between {limit.lowest} and {limit.highest}")
    if isinstance(limit, Text) and isinstance(value, str):
        if not limit.shortest <= len(value) <= limit.longest:
            raise MessageError(f"{where} must have {limit.shortest} to {limit.longest} characters")
        if re.fullmatch(limit.pattern, value) is None:
            raise MessageError(f"{where} has characters that are not allowed there")


def _read_uuid(value: object, where: str) -> UUID:
    # Only the canonical form: one id must have one spelling, or hashes and signatures over it differ.
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        return UUID(value)
    raise MessageError(f"{where} must be a UUID in lower case with hyphens")


def _read_enum(shape: type[Enum], value: object, where: str) -> Enum:
    for member in shape:
        if type(value) is type(member.value) and member.value == value:
            return member
    raise MessageError(f"{where} must be one of {', '.join(str(member.value) for member in shape)}")
