"""Real messages of meters that one can buy, and what they should be read as (`tests/data/meter_payloads.json`)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.adapters.meter import READERS, SILENT_AFTER, Family, Meter
from telemetry.errors import DeadReason, MessageRefused

DATA = Path(__file__).parents[1] / "data" / "meter_payloads.json"
FAMILIES = {
    "tasmota": Family.TASMOTA,
    "shelly-gen2": Family.SHELLY,
    "shelly-gen3": Family.SHELLY,
    "zigbee2mqtt": Family.ZIGBEE2MQTT,
}
CASES = [case for case in json.loads(DATA.read_text(encoding="utf-8"))["payloads"] if case["family"] in FAMILIES]
NOW = datetime(2026, 9, 9, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_real_message_is_read_as_what_it_means(case: dict[str, Any]) -> None:
    readings = READERS[FAMILIES[case["family"]]](case["topic"], case["payload_raw"].encode())
    assert len(readings) == 1
    (reading,) = readings
    expected = case["expected"]
    assert reading.power_w == expected.get("power_w")
    assert reading.energy_wh == pytest.approx(expected.get("energy_wh"))
    assert reading.relay_on == {"on": True, "off": False, None: None}[expected.get("relay")]
    assert reading.online == expected.get("online")
    assert reading.at == _time(expected.get("t"))


def _time(value: float | str | None) -> datetime | None:
    if value is None or (isinstance(value, str) and "zone unknown" in value):
        return None
    return datetime.fromtimestamp(value, UTC) if isinstance(value, float) else datetime.fromisoformat(str(value))


def test_every_family_is_represented() -> None:
    assert {FAMILIES[case["family"]] for case in CASES} == set(Family)
    assert len(CASES) >= 15


def payload(name: str) -> tuple[str, bytes]:
    case = next(case for case in CASES if case["id"] == name)
    return case["topic"], case["payload_raw"].encode()


def test_a_strip_has_a_channel_for_each_socket() -> None:
    raw = b'{"Time":"2026-01-01T00:00:00","ENERGY":{"Total":[0.5,1.5],"Power":[10,200]}}'
    found = READERS[Family.TASMOTA]("tele/strip/SENSOR", raw)
    assert [(each.channel, each.power_w, each.energy_wh) for each in found] == [(0, 10.0, 500.0), (1, 200.0, 1500.0)]
    raw = b'{"ENERGY":{"Total":1.5,"Power":{"L1":10,"L2":200,"L3":null}}}'
    found = READERS[Family.TASMOTA]("tele/strip/SENSOR", raw)
    assert [(each.power_w, each.energy_wh) for each in found] == [(10.0, None), (200.0, None), (None, None)]
    raw = b'{"POWER1":"ON","POWER2":"OFF","Vcc":3.1}'
    assert [each.relay_on for each in READERS[Family.TASMOTA]("tele/strip/STATE", raw)] == [True, False]


def test_a_partial_status_is_laid_over_the_last_full_one() -> None:
    meter = Meter(Family.SHELLY)
    meter.take(*payload("shelly-1pm-mini-g3-status"), received_at=NOW)
    meter.take(
        "x/events/rpc",
        b'{"method":"NotifyStatus","params":{"ts":1788945300.0,"switch:0":{"current":0.1}}}',
        received_at=NOW,
    )
    assert meter.power_w(0, at=NOW) == 11.5
    meter.take(
        "x/events/rpc",
        b'{"method":"NotifyStatus","params":{"ts":1788945301.0,"switch:0":{"apower":50.5}}}',
        received_at=NOW,
    )
    assert meter.power_w(0, at=NOW) == 50.5
    meter.take("x/events/rpc", b'{"method":"NotifyEvent","params":{"ts":1788945301.5,"events":[]}}', received_at=NOW)
    assert meter.power_w(0, at=NOW) == 50.5


@pytest.mark.parametrize("family", list(Family))
def test_a_meter_that_says_nothing_any_more_is_unknown_and_not_off(family: Family) -> None:
    first = next(
        case for case in CASES if FAMILIES[case["family"]] is family and case["expected"].get("power_w") is not None
    )
    meter = Meter(family)
    assert meter.power_w(0, at=NOW) is None
    meter.take(first["topic"], first["payload_raw"].encode(), received_at=NOW)
    last = NOW + SILENT_AFTER[family]
    assert meter.power_w(0, at=last) == first["expected"]["power_w"]
    assert meter.power_w(0, at=last + timedelta(seconds=1)) is None


def test_what_was_cached_and_published_again_is_no_sign_of_life() -> None:
    meter = Meter(Family.ZIGBEE2MQTT)
    meter.take(*payload("z2m-ts011f-2026"), received_at=NOW)
    later = NOW + SILENT_AFTER[Family.ZIGBEE2MQTT]
    meter.take(*payload("z2m-ts011f-2026"), received_at=later)
    assert meter.power_w(0, at=later + timedelta(minutes=1)) is None


def test_a_meter_that_said_goodbye_is_unknown_at_once() -> None:
    meter = Meter(Family.TASMOTA)
    meter.take(*payload("tasmota-sensor-idle"), received_at=NOW)
    meter.take("tele/x/LWT", b"Offline", received_at=NOW)
    assert meter.power_w(0, at=NOW) is None
    meter.take("tele/x/LWT", b"Online", received_at=NOW)
    assert meter.power_w(0, at=NOW) == 0


def test_with_the_relay_open_no_power_flows() -> None:
    meter = Meter(Family.TASMOTA)
    meter.take("tele/x/SENSOR", b'{"ENERGY":{"Total":1,"Power":80}}', received_at=NOW)
    meter.take("tele/x/STATE", b'{"POWER":"OFF"}', received_at=NOW)
    assert meter.power_w(0, at=NOW) == 0.0


def test_a_clamp_on_the_wrong_way_round_measures_the_same() -> None:
    (reading,) = READERS[Family.SHELLY]("x/status/em1:2", b'{"id":2,"act_power":-120.5}')
    assert (reading.channel, reading.power_w) == (2, 120.5)


@pytest.mark.parametrize(
    ("family", "topic", "raw", "reason"),
    [
        (Family.SHELLY, "x/events/rpc", b"nonsense", DeadReason.NOT_JSON),
        (Family.SHELLY, "x/events/rpc", b'{"method":"NotifyStatus","params":7}', DeadReason.FIELD_WRONG),
        (Family.SHELLY, "x/status/switch:zero", b"{}", DeadReason.FIELD_WRONG),
        (Family.TASMOTA, "tele/x/SENSOR", b"12", DeadReason.NOT_AN_OBJECT),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/z1", b"12", DeadReason.NOT_AN_OBJECT),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/z1", b" " * 20_000, DeadReason.TOO_LARGE),
    ],
)
def test_poison_is_named(family: Family, topic: str, raw: bytes, reason: DeadReason) -> None:
    with pytest.raises(MessageRefused) as refused:
        READERS[family](topic, raw)
    assert refused.value.reason is reason


VALUES = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers()
CONTENT = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ENERGY", "Power", "Total", "POWER1", "ANALOG", "CTEnergy1", "params", "method", "ts"])
            | st.sampled_from(["switch:0", "apower", "aenergy", "power", "energy", "state", "last_seen", "emdata:1"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    family=st.sampled_from(Family),
    end=st.sampled_from(["events/rpc", "status/switch:0", "SENSOR", "STATE", "LWT", "power", "online", "x"]),
    content=CONTENT,
)
def test_nothing_that_a_meter_says_breaks_a_box(family: Family, end: str, content: Any) -> None:
    meter = Meter(family)
    try:
        meter.take(f"tele/x/{end}", json.dumps(content).encode(), received_at=NOW)
    except MessageRefused:
        return
    found = meter.power_w(0, at=NOW)
    assert found is None or found >= 0
