"""What people's JSON doors take and give."""

from marshmallow import fields, validate

from app.fields import Moment, PageQuery, Strict, Text, Whole
from app.people.models import Role
from app.people.passwords import LENGTH_MAX, LENGTH_MIN

USERNAME = validate.Regexp(r"^[A-Za-z0-9._-]{3,64}$", error="3 to 64 letters, digits, dots, dashes or underscores.")


class LogInSchema(Strict):
    """User name and password."""

    username = fields.String(required=True, validate=validate.Length(1, 64), metadata={"example": "li.ming"})
    password = fields.String(
        required=True,
        load_only=True,
        validate=validate.Length(1, LENGTH_MAX),
        metadata={"example": "a long sentence of mine", "format": "password"},
    )


class TokenSchema(Strict):
    """A log-in: send the token as `Authorization: Bearer <token>`."""

    token = fields.String(required=True, metadata={"description": "Shown once; the service keeps only its hash."})
    expires_at = Moment(required=True, metadata={"example": "2026-03-01T20:00:00+00:00"})


class GrantSchema(Strict):
    """One role and where it holds."""

    role = fields.Enum(Role, by_value=True, required=True, metadata={"example": "sub_center_manager"})
    sub_center_id = Whole(minimum=1, load_default=None, allow_none=True, metadata={"example": 1})
    group_id = Whole(minimum=1, load_default=None, allow_none=True, metadata={"example": None})


class PersonSchema(Strict):
    """A person and what she may do."""

    person_id = Whole(required=True, metadata={"example": 7})
    username = fields.String(required=True, metadata={"example": "li.ming"})
    name = fields.String(required=True, metadata={"example": "李明"})
    organisation_id = Whole(required=True, allow_none=True, metadata={"example": 3})
    grants = fields.List(fields.Nested(GrantSchema), required=True)


class PeopleSchema(Strict):
    """A page of people."""

    people = fields.List(fields.Nested(PersonSchema), required=True)


class PeopleQuery(PageQuery):
    """Which people."""

    search = Text(minimum=0, maximum=64, load_default="", metadata={"description": "Part of a user name or name."})


class NewPersonSchema(Strict):
    """A person to record, with her first roles."""

    username = fields.String(required=True, validate=USERNAME, metadata={"example": "li.ming"})
    name = Text(required=True, maximum=100, metadata={"example": "李明"})
    password = fields.String(
        required=True,
        load_only=True,
        validate=validate.Length(1, LENGTH_MAX),
        metadata={"description": f"At least {LENGTH_MIN} characters, none of the common ones.", "format": "password"},
    )
    organisation_id = Whole(minimum=1, load_default=None, allow_none=True, metadata={"example": None})
    grants = fields.List(fields.Nested(GrantSchema), load_default=list, validate=validate.Length(max=20))
