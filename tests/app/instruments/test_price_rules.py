"""Price rules are read strictly: a misspelt key must not make an instrument free."""

from typing import Any

import pytest

from app.instruments.models import CustomerClass
from app.instruments.price_rules import PartDay, RulesError, parse_rules
from app.instruments.price_texts import describe

HOUR = {"per_hour": {"price_fen": 30_00}}
NIGHT = {"from": "22:00", "to": "08:00", "percent": 80}


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        ({1: 2}, ""),
        ({"cap_fen": 100}, ""),
        ({**HOUR, "per_huor": {}}, "per_huor"),
        ({"per_hour": 30}, "per_hour"),
        ({"per_hour": {}}, "per_hour"),
        ({"per_hour": {"price_fen": "30"}}, "per_hour.price_fen"),
        ({"per_hour": {"price_fen": 30.0}}, "per_hour.price_fen"),
        ({"per_hour": {"price_fen": True}}, "per_hour.price_fen"),
        ({"per_hour": {"price_fen": -1}}, "per_hour.price_fen"),
        ({"per_hour": {"price_fen": 10**10 + 1}}, "per_hour.price_fen"),
        ({"per_hour": {"price_fen": 1, "price": 2}}, "per_hour.price"),
        ({"per_hour": {"price_fen": 1, "steps": [{"price_fen": 1}]}}, "per_hour"),
        ({"per_hour": {"price_fen": 1, "increment_min": 0}}, "per_hour.increment_min"),
        ({"per_hour": {"steps": []}}, "per_hour.steps"),
        ({"per_hour": {"steps": [{"price_fen": 1}] * 21}}, "per_hour.steps"),
        ({"per_hour": {"steps": [{"hours": 1, "price_fen": 1}]}}, "per_hour.steps"),
        ({"per_hour": {"steps": [{"price_fen": 1}, {"price_fen": 1}]}}, "per_hour.steps"),
        ({"per_hour": {"steps": [{"hours": 0, "price_fen": 1}, {"price_fen": 1}]}}, "per_hour.steps[0].hours"),
        ({"per_hour": {"steps": [{"hours": 1, "price_fen": 1}, {"price": 1}]}}, "per_hour.steps[1].price_fen"),
        ({"per_day": {"price_fen": 1, "part_day": "third"}}, "per_day.part_day"),
        ({"per_day": {"price_fen": 1, "part_day": "hours"}}, "per_day.part_day"),
        ({**HOUR, "per_day": {"price_fen": 1}}, "per_day.part_day"),
        ({"per_sample": {"tiers": [{"from": 2, "price_fen": 1}]}}, "per_sample.tiers"),
        ({"per_sample": {"tiers": [{"from": 1, "price_fen": 1}] * 2}}, "per_sample.tiers"),
        ({"per_sample": {"price_fen": 1, "unit_zh": ""}}, "per_sample.unit_zh"),
        ({"per_sample": {"price_fen": 1, "unit_en": "a\nb"}}, "per_sample.unit_en"),
        ({"per_sample": {"price_fen": 1}, "windows": [NIGHT]}, "windows"),
        ({**HOUR, "windows": [{"percent": 80}]}, "windows[0]"),
        ({**HOUR, "windows": [{"from": "22:00", "percent": 80}]}, "windows[0]"),
        ({**HOUR, "windows": [{**NIGHT, "to": "22:00"}]}, "windows[0].to"),
        ({**HOUR, "windows": [{**NIGHT, "to": "24:01"}]}, "windows[0].to"),
        ({**HOUR, "windows": [{**NIGHT, "to": "8:00"}]}, "windows[0].to"),
        ({**HOUR, "windows": [{**NIGHT, "to": "０８:00"}]}, "windows[0].to"),
        ({**HOUR, "windows": [{**NIGHT, "days": ["sunday"]}]}, "windows[0].days"),
        ({**HOUR, "windows": [{**NIGHT, "days": ["sun", "sun"]}]}, "windows[0].days"),
        ({**HOUR, "windows": [{**NIGHT, "days": [[]]}]}, "windows[0].days"),
        ({**HOUR, "windows": [{**NIGHT, "percent": 1001}]}, "windows[0].percent"),
        ({**HOUR, "class_percent": {"student": 50}}, "class_percent.student"),
        ({**HOUR, "urgent_percent": 150.0}, "urgent_percent"),
        ({**HOUR, "options": {"a b": {"percent": 1, "zh": "x", "en": "x"}}}, "options"),
        ({**HOUR, "options": {"a": {"percent": 1, "zh": "x"}}}, "options.a.en"),
        ({**HOUR, "no_show": {}}, "no_show"),
        ({**HOUR, "no_show": {"fee_fen": 1, "percent": 1}}, "no_show"),
        ({**HOUR, "late_cancel": {"fee_fen": 1}}, "late_cancel.within_min"),
        ({**HOUR, "cap_fen": None}, "cap_fen"),
    ],
)
def test_a_mistake_is_refused_with_its_place(written: Any, path: str) -> None:
    with pytest.raises(RulesError) as refused:
        parse_rules(written)
    assert refused.value.path == path
    assert refused.value.reason


def test_everything_that_may_be_left_out_has_a_plain_meaning() -> None:
    rules = parse_rules(HOUR)
    assert rules.per_hour is not None
    assert (rules.per_hour.increment_min, rules.per_hour.minimum_min) == (1, 0)
    assert rules.urgent_percent == 100
    assert rules.cap_fen is None
    assert (rules.start_up_fen, rules.windows, rules.options) == (0, (), {})


def test_every_key_of_the_reference_is_read() -> None:
    rules = parse_rules(EVERYTHING)
    assert rules.class_percent == {CustomerClass.COMPANY: 125}
    assert rules.per_day is not None
    assert rules.per_day.part_day is PartDay.HOURS
    assert [window.percent for window in rules.windows] == [75, 80]
    assert rules.late_cancel is not None
    assert rules.late_cancel.within_min == 1440


def test_rules_are_said_in_words() -> None:
    words = describe(parse_rules(EVERYTHING))
    assert words.zh == (
        "开机费 50.00 元；660.00 元/天（不足一天按小时计，不超过一天价格）；前 1 小时 200.00 元/小时；"
        "以后 50.00 元/小时；按 60 分钟计时；至少 120 分钟；200.00 元/样品；"
        "第 4 样品起 160.00 元；每样品每组分 80.00 元；周六、周日 75%；"
        "每天 22:00-08:00 80%；前 10 分钟预热免费；后 5 分钟收尾免费；企业 125%；加急 150%；委托 50%；预约未到 50%；"
        "开始前 1440 分钟内取消 20.00 元；单次封顶 5,000.00 元"
    )
    assert words.en.startswith(
        "start-up 50.00 yuan; 660.00 yuan/day (a part day by the hour, at most the day's price);"
    )


EVERYTHING: dict[str, Any] = {
    "start_up_fen": 50_00,
    "free_warm_up_min": 10,
    "free_cool_down_min": 5,
    "per_hour": {
        "steps": [{"hours": 1, "price_fen": 200_00}, {"price_fen": 50_00}],
        "increment_min": 60,
        "minimum_min": 120,
    },
    "per_day": {"price_fen": 660_00, "part_day": "hours"},
    "per_sample": {"tiers": [{"from": 1, "price_fen": 200_00}, {"from": 4, "price_fen": 160_00}]},
    "per_component_fen": 80_00,
    "windows": [{"days": ["sat", "sun"], "percent": 75}, NIGHT],
    "class_percent": {"company": 125},
    "urgent_percent": 150,
    "options": {"entrusted": {"percent": 50, "zh": "委托", "en": "entrusted"}},
    "no_show": {"percent": 50},
    "late_cancel": {"within_min": 1440, "fee_fen": 20_00},
    "cap_fen": 5_000_00,
}
