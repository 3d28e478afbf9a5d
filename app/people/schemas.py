"""What people's JSON doors take and give."""

from marshmallow import fields, validate

from app.fields import INTEGER_MAX, PAGE_SIZE_MAX, Moment, PageQuery, Strict, Text, Whole
from app.people.models import OrganisationKind, Role
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


class ChangePasswordSchema(Strict):
    """The password to exchange and the new one."""

    current = fields.String(
        required=True, load_only=True, validate=validate.Length(1, LENGTH_MAX), metadata={"format": "password"}
    )
    new = fields.String(
        required=True, load_only=True, validate=validate.Length(1, LENGTH_MAX), metadata={"format": "password"}
    )


class NewOrganisationSchema(Strict):
    """An organisation to record: a customer, or the legal person of a member unit."""

    name_zh = Text(required=True, metadata={"example": "重庆某某科技有限公司"})
    name_en = Text(required=True, metadata={"example": "Chongqing Example Technology Ltd"})
    kind = fields.Enum(OrganisationKind, by_value=True, required=True, metadata={"example": "company"})
    region = Text(maximum=64, load_default="重庆", metadata={"example": "重庆"})
    legal_person = fields.Boolean(load_default=True, truthy={True}, falsy={False})
    network_member = fields.Boolean(
        load_default=False, truthy={True}, falsy={False}, metadata={"description": "入网单位: a member unit."}
    )


class OrganisationSchema(NewOrganisationSchema):
    """An organisation."""

    id = Whole(required=True, metadata={"example": 3})


class OrganisationsSchema(Strict):
    """A page of organisations."""

    organisations = fields.List(fields.Nested(OrganisationSchema), required=True)


class AuditQuery(Strict):
    """Which part of the audit trail."""

    subject = Text(minimum=0, maximum=100, load_default="", metadata={"example": "instrument:1"})
    actor = Text(minimum=0, maximum=100, load_default="", metadata={"example": "li.ming"})
    before_id = fields.Integer(load_default=None, validate=validate.Range(1, INTEGER_MAX))
    page_size = fields.Integer(load_default=50, validate=validate.Range(1, PAGE_SIZE_MAX))


class AuditEntrySchema(Strict):
    """Who did what to which thing."""

    id = Whole(required=True)
    at = Moment(required=True)
    actor = fields.String(required=True, metadata={"example": "li.ming"})
    action = fields.String(required=True, metadata={"example": "set_tariff"})
    subject = fields.String(required=True, metadata={"example": "instrument:1"})
    detail = fields.Dict(required=True)


class AuditTrailSchema(Strict):
    """A page of the audit trail, the newest first."""

    entries = fields.List(fields.Nested(AuditEntrySchema), required=True)
