"""The reference of price rules tells the truth: its examples are read, and it names every key."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.instruments.price_rules import PriceRules, parse_rules

REFERENCE = (Path(__file__).parents[3] / "docs" / "reference" / "price-rules.md").read_text(encoding="utf-8")
EXAMPLES = [line for block in re.findall(r"```json\n(.*?)```", REFERENCE, re.DOTALL) for line in block.splitlines()]
HOUR = {"per_hour": {"price_fen": 30_00}}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_reference_is_read(example: str) -> None:
    written = json.loads(example)
    parse_rules(written if any(name.startswith("per_") for name in written) else {**HOUR, **written})


@pytest.mark.parametrize("key", [field.name for field in fields(PriceRules)])
def test_the_reference_names_every_key(key: str) -> None:
    assert f"`{key}`" in REFERENCE
