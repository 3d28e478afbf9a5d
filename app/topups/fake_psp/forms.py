"""What the fake payment service takes, as strictly as stripe-mock: known names, right kinds, nothing else."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from app.topups.fake_psp.errors import ApiError

METADATA_KEY_MAX = 40
VALUE_MAX = 5000
WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)
URL = re.compile(r"https?://\S+")


class Rule(NamedTuple):
    """A parameter by the pattern of its name, and the pattern its value must match whole."""

    name: re.Pattern[str]
    value: re.Pattern[str]
    required: bool = False


def _rule(name: str, value: str | re.Pattern[str] = r"(?s).+", *, required: bool = False) -> Rule:
    return Rule(re.compile(name), re.compile(value), required)


_METADATA = rf"\[[^\[\]]{{1,{METADATA_KEY_MAX}}}\]"
_ITEM = r"line_items\[0\]"
CHECKOUT_RULES = (
    _rule(r"mode", "payment", required=True),
    _rule(r"client_reference_id", r".{1,200}"),
    _rule(r"success_url", URL, required=True),
    _rule(r"cancel_url", URL),
    _rule(r"expires_at", WHOLE),
    _rule(rf"{_ITEM}\[quantity\]", "1", required=True),
    _rule(rf"{_ITEM}\[price_data\]\[currency\]", r"[a-z]{3}", required=True),
    _rule(rf"{_ITEM}\[price_data\]\[unit_amount\]", WHOLE, required=True),
    _rule(rf"{_ITEM}\[price_data\]\[product_data\]\[name\]", required=True),
    _rule(rf"metadata{_METADATA}", r"(?s).{0,500}"),
    _rule(r"payment_intent_data\[description\]", r"(?s).{0,1000}"),
    _rule(rf"payment_intent_data\[metadata\]{_METADATA}", r"(?s).{0,500}"),
    _rule(r"payment_method_options\[wechat_pay\]\[client\]", "web|ios|android"),
    _rule(r"expand\[\d\]"),
)
EXPAND_RULES = (_rule(r"expand\[\d\]"),)
EVENTS_RULES = (
    _rule(r"created\[(gt|gte|lt|lte)\]", WHOLE),
    _rule(r"limit", r"[1-9]\d?|100"),
    _rule(r"starting_after", r"evt_\w+"),
    _rule(r"type", r"[a-z_.*]+"),
    _rule(r"types\[(\d|1\d)\]", r"[a-z_.]+"),
)


def check(form: Mapping[str, str], rules: Iterable[Rule]) -> None:
    """Check a form or query. Raises ApiError for the first parameter that is unknown, wrong or missing."""
    rules = tuple(rules)
    for name, value in form.items():
        rule = next((rule for rule in rules if rule.name.fullmatch(name)), None)
        if rule is None:
            raise ApiError(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
        if len(value) > VALUE_MAX or not rule.value.fullmatch(value):
            raise ApiError(400, f"Invalid value of {name}: {value[:80]}", code="parameter_invalid", param=name)
    for rule in rules:
        if rule.required and not any(rule.name.fullmatch(name) for name in form):
            raise ApiError(400, f"Missing required param: {rule.name.pattern}", code="parameter_missing")


def nested(form: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Give what stands under a bracketed prefix: metadata[a]=1 → {"a": "1"}."""
    return {name[len(prefix) + 1 : -1]: value for name, value in form.items() if name.startswith(f"{prefix}[")}
