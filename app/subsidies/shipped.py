"""The rule sets that come with the product: Chongqing's, and those of other regions as templates."""

import json
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app.subsidies.rules import parse_rules


@cache
def shipped_rule_sets() -> MappingProxyType[str, dict[str, Any]]:
    """Give the bodies of the shipped rule sets by code; each has been read once, so each can be published."""
    bodies = json.loads((Path(__file__).parent / "rule_sets.json").read_text(encoding="utf-8"))["rule_sets"]
    return MappingProxyType({parse_rules(body).code: body for body in bodies})
