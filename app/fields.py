"""Fields that all JSON doors share: strict about kinds, limited in size, storable in PostgreSQL."""

from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

INTEGER_MAX = 2**53 - 1
"""The greatest integer that every JSON reader takes without rounding."""
PAGE_SIZE_MAX = 200
PAGE_MAX = 100_000
YEAR_MIN, YEAR_MAX = 2000, 2200


class Strict(Schema):
    """A body or query whose unknown fields are refused: a misspelt field must not look accepted."""


class WordsSchema(Strict):
    """One text in both languages."""

    zh = fields.String(required=True, metadata={"example": "液相色谱仪"})
    en = fields.String(required=True, metadata={"example": "Liquid chromatograph"})


class Whole(fields.Integer):
    """A JSON integer: no string, no boolean, no 1.0, so that money never passes through a float."""

    def __init__(self, *, minimum: int = 0, maximum: int = INTEGER_MAX, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=minimum, max=maximum), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        _ = attr, data, kwargs
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class Text(fields.String):
    """Text of limited length without control characters; surrounding blanks are dropped before it is measured."""

    def __init__(self, *, minimum: int = 1, maximum: int = 200, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=minimum, max=maximum), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **kwargs)).strip()
        # Half of a surrogate pair is valid JSON, but no text that any database keeps.
        if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in text):
            raise ValidationError("Control characters are not allowed.")
        return text


class Moment(fields.AwareDateTime):
    """A moment with its offset, ISO 8601; a time without a zone is refused, for it means two things.

    Only of this age: at the ends of the calendar a change of zone leaves it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", validate=_this_age, **kwargs)


def _this_age(moment: datetime) -> None:
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValidationError(f"Must lie between the years {YEAR_MIN} and {YEAR_MAX}.")


class PageQuery(Strict):
    """Which page of a list."""

    page = fields.Integer(load_default=1, validate=validate.Range(min=1, max=PAGE_MAX), metadata={"example": 1})
    page_size = fields.Integer(
        load_default=50, validate=validate.Range(min=1, max=PAGE_SIZE_MAX), metadata={"example": 50}
    )
