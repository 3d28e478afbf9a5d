"""What the cards' JSON doors take and give."""

from marshmallow import fields, validate

from app.cards.models import AccountStatus, CardClass, CardStatus, ProjectLevel
from app.fields import Moment, PageQuery, Strict, Text, Whole

PIN = validate.Regexp(r"^[0-9]{4,12}$", error="4 to 12 digits.")
UID = validate.Regexp(
    r"^([0-9A-F]{8}|[0-9A-F]{14})$", error="8 or 14 hex digits in capitals, in anticollision order, never decimal."
)


class NewAccountSchema(Strict):
    """A card account to open, for a person or for an organisation."""

    person_id = Whole(minimum=1, load_default=None, allow_none=True, metadata={"example": 7})
    organisation_id = Whole(minimum=1, load_default=None, allow_none=True, metadata={"example": None})


class BalancesSchema(Strict):
    """The money of an account, in fen."""

    principal_fen = Whole(required=True, metadata={"description": "On the principal purse.", "example": 100_00})
    subsidy_fen = Whole(required=True, metadata={"description": "On the subsidy purse.", "example": 20_00})
    held_fen = Whole(required=True, metadata={"description": "Reserved by running sessions.", "example": 30_00})
    available_fen = fields.Integer(
        required=True, metadata={"description": "What a tap could hold now.", "example": 90_00}
    )
    debt_fen = Whole(required=True, metadata={"example": 0})


class CardSchema(Strict):
    """A card; its number is never shown whole."""

    id = Whole(required=True, metadata={"example": 12})
    number_masked = fields.String(required=True, metadata={"example": "**** 4711"})
    card_class = fields.Enum(CardClass, by_value=True, required=True)
    status = fields.Enum(CardStatus, by_value=True, required=True)
    holder_id = Whole(required=True, metadata={"example": 7})
    project_id = Whole(required=True, allow_none=True, metadata={"example": None})
    expires_on = fields.Date(required=True, metadata={"example": "2029-12-31"})


class AccountSchema(Strict):
    """A card account with its money and its cards."""

    id = Whole(required=True, metadata={"example": 3})
    number = fields.String(required=True, metadata={"example": "4820193746"})
    person_id = Whole(required=True, allow_none=True, metadata={"example": 7})
    organisation_id = Whole(required=True, allow_none=True, metadata={"example": None})
    customer = fields.String(required=True, metadata={"example": "李明"})
    status = fields.Enum(AccountStatus, by_value=True, required=True)
    created_at = Moment(required=True)
    balances = fields.Nested(BalancesSchema, required=True)
    cards = fields.List(fields.Nested(CardSchema), required=True)


class AccountsQuery(PageQuery):
    """Which accounts."""

    mine = fields.Boolean(load_default=False, metadata={"description": "Only your own, also for the service center."})


class AccountsSchema(Strict):
    """A page of accounts."""

    accounts = fields.List(fields.Nested(AccountSchema), required=True)


class NewCardSchema(Strict):
    """A card to issue."""

    holder_id = Whole(required=True, minimum=1, metadata={"example": 7})
    card_class = fields.Enum(CardClass, by_value=True, required=True, metadata={"example": "typed"})
    pin = fields.String(required=True, load_only=True, validate=PIN, metadata={"example": "271828"})
    uid = fields.String(
        load_default=None,
        allow_none=True,
        validate=UID,
        metadata={
            "description": "14 hex digits of a card of class `sun`; 8 or 14 of class `uid`, where the site takes such.",
            "example": None,
        },
    )
    project_id = Whole(minimum=1, load_default=None, allow_none=True, metadata={"example": None})
    expires_on = fields.Date(required=True, metadata={"example": "2029-12-31"})


class IssuedCardSchema(CardSchema):
    """A card just issued: its whole number is told once, to be printed on its face."""

    face_number = fields.String(required=True, metadata={"example": "9156000000000003"})


class PinSchema(Strict):
    """A new PIN."""

    pin = fields.String(required=True, load_only=True, validate=PIN, metadata={"example": "271828"})


class NewProjectSchema(Strict):
    """A project whose tests the account's cards may pay for."""

    title = Text(required=True, metadata={"example": "新型电池材料研究"})
    level = fields.Enum(ProjectLevel, by_value=True, required=True, metadata={"example": "municipal"})
    evidence_reference = Text(minimum=0, maximum=100, load_default="", metadata={"example": "cstc2009-117"})


class ProjectSchema(NewProjectSchema):
    """A recorded project."""

    id = Whole(required=True, metadata={"example": 2})
