"""What the instruments' JSON doors take and give."""

from marshmallow import fields, validate

from app.fields import Moment, PageQuery, Strict, Text, Whole, WordsSchema
from app.instruments.models import CustomerClass
from app.instruments.price_rules import DURATION_MIN_MAX
from app.instruments.service.homes import ALLOWANCE_MIN_MAX

BASIS_POINTS_MAX = 10_000
CODE = validate.Regexp(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", error="Up to 32 letters, digits, dots and dashes.")
RULES_EXAMPLE = {
    "per_hour": {"price_fen": 30_00, "increment_min": 6},
    "windows": [{"days": ["sat", "sun"], "percent": 75}],
    "class_percent": {"company": 125},
}


class PlaceSchema(Strict):
    """A sub-center, unit or group by id and names."""

    id = Whole(required=True, metadata={"example": 1})
    name_zh = fields.String(required=True, metadata={"example": "重庆大学"})
    name_en = fields.String(required=True, metadata={"example": "Chongqing University"})


class PriceSchema(Strict):
    """The price for one customer class in words; without a class, for everyone who has none of their own."""

    customer_class = fields.Enum(CustomerClass, by_value=True, required=True, allow_none=True)
    text = fields.Nested(WordsSchema, required=True)


class InstrumentSchema(Strict):
    """An instrument of the catalog."""

    id = Whole(required=True, metadata={"example": 1})
    code = fields.String(required=True, metadata={"example": "CQU-HPLC-01"})
    name_zh = fields.String(required=True, metadata={"example": "液相色谱仪"})
    name_en = fields.String(required=True, metadata={"example": "Liquid chromatograph"})
    instrument_class = fields.String(required=True, metadata={"example": "chromatography"})
    place = fields.String(required=True, metadata={"example": "A 区 3 栋 201"})
    special = fields.Boolean(required=True, metadata={"description": "专用仪器: rated 800 hours a year, not 1,400."})
    typical_session_min = Whole(required=True, metadata={"example": 60})
    warm_up_min = Whole(required=True, metadata={"description": "Counts as effective time, at most.", "example": 15})
    after_treatment_min = Whole(required=True, metadata={"description": "The same after a use.", "example": 15})
    group = fields.Nested(PlaceSchema, required=True)
    unit = fields.Nested(PlaceSchema, required=True)
    sub_center = fields.Nested(PlaceSchema, required=True, allow_none=True)
    earns_subsidy = fields.Boolean(required=True, metadata={"description": "On the collaborative list now."})
    prices = fields.List(fields.Nested(PriceSchema), required=True)


class InstrumentsSchema(Strict):
    """A page of the catalog."""

    instruments = fields.List(fields.Nested(InstrumentSchema), required=True)
    total = Whole(required=True, metadata={"example": 34})


class InstrumentsQuery(PageQuery):
    """Which instruments."""

    search = Text(minimum=0, maximum=64, load_default="", metadata={"description": "Part of a code, name or unit."})
    instrument_class = Text(maximum=64, load_default=None, metadata={"example": "chromatography"})
    unit_id = fields.Integer(load_default=None, validate=validate.Range(1, 2**53 - 1), metadata={"example": 1})
    place = Text(minimum=0, maximum=64, load_default="", metadata={"description": "Part of the place."})


class NewSubCenterSchema(Strict):
    """A sub-center to record."""

    code = fields.String(required=True, validate=CODE, metadata={"example": "CQU"})
    name_zh = Text(required=True, metadata={"example": "重庆大学分中心"})
    name_en = Text(required=True, metadata={"example": "Chongqing University sub-center"})


class NewUnitSchema(NewSubCenterSchema):
    """A member unit to record."""

    organisation_id = Whole(required=True, minimum=1, metadata={"example": 1})
    sub_center_id = Whole(minimum=1, load_default=None, allow_none=True, metadata={"example": None})
    service_fee_basis_points = Whole(maximum=BASIS_POINTS_MAX, load_default=0, metadata={"example": 500})
    vat_basis_points = Whole(maximum=BASIS_POINTS_MAX, load_default=0, metadata={"example": 600})


class NewGroupSchema(Strict):
    """An instrument group to record."""

    unit_id = Whole(required=True, minimum=1, metadata={"example": 1})
    name_zh = Text(required=True, metadata={"example": "质谱机组"})
    name_en = Text(required=True, metadata={"example": "Mass spectrometry group"})


class NewInstrumentSchema(NewSubCenterSchema):
    """An instrument to record."""

    group_id = Whole(required=True, minimum=1, metadata={"example": 1})
    instrument_class = Text(required=True, maximum=64, metadata={"example": "chromatography"})
    place = Text(minimum=0, load_default="", metadata={"example": "A 区 3 栋 201"})
    value_fen = Whole(load_default=0, metadata={"example": 1_200_000_00})
    special = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    typical_session_min = Whole(minimum=1, maximum=DURATION_MIN_MAX, load_default=60, metadata={"example": 60})
    warm_up_min = Whole(maximum=ALLOWANCE_MIN_MAX, load_default=15, metadata={"example": 15})
    after_treatment_min = Whole(maximum=ALLOWANCE_MIN_MAX, load_default=15, metadata={"example": 15})


class AllowancesSchema(Strict):
    """How many minutes around the runs of a use count as effective time, at most."""

    warm_up_min = Whole(required=True, maximum=ALLOWANCE_MIN_MAX, metadata={"example": 15})
    after_treatment_min = Whole(required=True, maximum=ALLOWANCE_MIN_MAX, metadata={"example": 15})


class CreatedSchema(Strict):
    """The id of what was recorded."""

    id = Whole(required=True, metadata={"example": 1})


class NewTariffSchema(Strict):
    """Price rules to announce."""

    customer_class = fields.Enum(
        CustomerClass,
        by_value=True,
        load_default=None,
        allow_none=True,
        metadata={"description": "None: for everyone who has no rules of their own.", "example": None},
    )
    valid_from = Moment(required=True, metadata={"example": "2026-12-01T00:00:00+08:00"})
    valid_to = Moment(load_default=None, allow_none=True, metadata={"example": None})
    rules = fields.Dict(
        keys=fields.String(),
        required=True,
        metadata={"description": "See the reference of price rules.", "example": RULES_EXAMPLE},
    )
    split_at_change = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={
            "description": "Whether a later tariff, announced before swipe-in, splits a session that runs into it.",
            "example": False,
        },
    )
    source = Text(minimum=0, load_default="", metadata={"example": "Price list of 2026"})


class TariffSchema(NewTariffSchema):
    """A tariff with its rules in words."""

    id = Whole(required=True, metadata={"example": 1})
    text = fields.Nested(WordsSchema, required=True)


class TariffsSchema(Strict):
    """All tariffs of an instrument, the newest first."""

    tariffs = fields.List(fields.Nested(TariffSchema), required=True)


class EndTariffSchema(Strict):
    """From when on a tariff holds no longer."""

    valid_to = Moment(required=True, metadata={"example": "2027-01-01T00:00:00+08:00"})


class NewListingSchema(Strict):
    """From when to when an instrument is on the collaborative list."""

    valid_from = Moment(required=True, metadata={"example": "2026-12-01T00:00:00+08:00"})
    valid_to = Moment(load_default=None, allow_none=True, metadata={"example": None})


class QuoteQuerySchema(Strict):
    """A session whose price is asked for."""

    starts_at = Moment(required=True, metadata={"example": "2026-12-04T23:00:00+08:00"})
    minutes = Whole(required=True, minimum=1, maximum=31 * 24 * 60, metadata={"example": 120})
    customer_class = fields.Enum(CustomerClass, by_value=True, required=True, metadata={"example": "company"})
    samples = Whole(maximum=100_000, load_default=0, metadata={"example": 3})
    components = Whole(maximum=1_000, load_default=0, metadata={"description": "Per sample.", "example": 0})
    urgent = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    options = fields.List(Text(maximum=40), load_default=list, validate=validate.Length(max=20))


class ChargeLineSchema(Strict):
    """One rounded amount and how it came about."""

    kind = fields.String(required=True, metadata={"example": "hours"})
    zh = fields.String(required=True, metadata={"example": "机时 60 分钟 × 60.00 元/小时"})
    en = fields.String(required=True, metadata={"example": "60 min × 60.00 yuan/h"})
    quantity = Whole(required=True, metadata={"example": 60})
    unit_price_fen = Whole(required=True, metadata={"example": 60_00})
    amount_fen = fields.Integer(required=True, metadata={"example": 60_00})


class QuoteSchema(Strict):
    """What the session would cost, line by line, and what not coming to it would."""

    tariff_id = Whole(required=True, metadata={"example": 1})
    lines = fields.List(fields.Nested(ChargeLineSchema), required=True)
    amount_fen = Whole(required=True, metadata={"example": 105_00})
    hold_fen = Whole(required=True, metadata={"description": "Reserved at swipe-in.", "example": 120_00})
    no_show_fen = Whole(required=True, metadata={"example": 0})
    late_cancel_fen = Whole(required=True, metadata={"description": "If cancelled at the last moment.", "example": 0})
