"""Real messages of meters that one can buy, and what they should be read as (`tests/data/meter_payloads.json`)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.adapters.meter import READERS, SILENT_AFTER, Family, Meter, topics
from telemetry.adapters.values import Flag
from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import parse
from tests.telemetry.wire import minute

DATA = Path(__file__).parents[1] / "data" / "meter_payloads.json"
FAMILIES = {
    "tasmota": Family.TASMOTA,
    "shelly-gen1": Family.SHELLY_GEN1,
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
    assert list(reading.power_w_phases) == expected.get("power_w_phases", [])
    assert reading.energy_wh == pytest.approx(expected.get("energy_wh"))
    for name in expected.keys() & {"voltage_v", "current_a"}:
        assert getattr(reading, name) == expected[name]
    assert {str(flag) for flag in reading.flags} == set(expected.get("flags", []))
    assert _seconds(reading.booted_at) == expected.get("boot_at")
    if "t_not_before" in expected:
        assert _seconds(reading.not_before) == expected["t_not_before"]
    assert reading.relay_on == {"on": True, "off": False, None: None}[expected.get("relay")]
    assert reading.online == expected.get("online")
    assert reading.at == _time(expected.get("t"))


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _time(value: float | str | None) -> datetime | None:
    if value is None or (isinstance(value, str) and "zone unknown" in value):
        return None
    return datetime.fromtimestamp(value, UTC) if isinstance(value, float) else datetime.fromisoformat(str(value))


def test_every_family_is_represented() -> None:
    assert {FAMILIES[case["family"]] for case in CASES} == set(Family)
    assert len(CASES) >= 16


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
        (Family.SHELLY, "x/status/switch:0", b"7", DeadReason.NOT_AN_OBJECT),
        (Family.SHELLY, "x/status/switch:99999", b"{}", DeadReason.FIELD_WRONG),
        (Family.SHELLY_GEN1, "shellies/x/relay/0", b"overpower", DeadReason.FIELD_WRONG),
        (Family.SHELLY_GEN1, "shellies/x/relay/0/power", b"much", DeadReason.NOT_JSON),
        (Family.SHELLY_GEN1, "shellies/x/relay/0/power", b"NaN", DeadReason.FIELD_WRONG),
        (Family.SHELLY_GEN1, "http://x/status", b'{"relays":7}', DeadReason.FIELD_WRONG),
        (Family.TASMOTA, "tele/x/LWT", b"Perhaps", DeadReason.FIELD_WRONG),
        (Family.TASMOTA, "stat/x/POWER2", b"TOGGLE", DeadReason.FIELD_WRONG),
        (Family.TASMOTA, "tele/x/SENSOR", b'{"ENERGY":[1]}', DeadReason.FIELD_WRONG),
        (Family.TASMOTA, "tele/x/SENSOR", b'{"ENERGY":{"Power":[' + b"1," * 40 + b"1]}}", DeadReason.OUT_OF_RANGE),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/z1", b"12", DeadReason.NOT_AN_OBJECT),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/z1/state", b"WARM", DeadReason.FIELD_WRONG),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/z1", b" " * 20_000, DeadReason.TOO_LARGE),
    ],
)
def test_poison_is_named(family: Family, topic: str, raw: bytes, reason: DeadReason) -> None:
    with pytest.raises(MessageRefused) as refused:
        READERS[family](topic, raw)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("family", "topic", "raw", "expected"),
    [
        (
            Family.SHELLY,
            "p/status/pm1:0",
            '{"id":0,"apower":4.1,"aenergy":{"total":9.5}}',
            {"power_w": 4.1, "energy_wh": 9.5},
        ),
        (Family.SHELLY, "p/status/switch:3", '{"id":3,"output":false,"apower":0.0}', {"channel": 3, "relay_on": False}),
        (Family.SHELLY, "p/status/emdata:0", '{"id":0,"total_act":1234.56}', {"energy_wh": 1234.56, "power_w": None}),
        (
            Family.SHELLY,
            "p/events/rpc",
            '{"method":"NotifyStatus","params":{"ts":17.2,"switch:0":{"apower":3.0}}}',
            {"power_w": 3.0, "at": None, "flags": frozenset({Flag.CLOCK_UNSET})},
        ),
        (Family.SHELLY_GEN1, "shellies/p/relay/1", "on", {"channel": 1, "relay_on": True}),
        (Family.SHELLY_GEN1, "shellies/p/relay/0/power", "63.98", {"power_w": 63.98}),
        (Family.SHELLY_GEN1, "shellies/p/relay/0/energy", "6000", {"energy_wh": 100.0}),
        (Family.SHELLY_GEN1, "shellies/p/emeter/2/total", "6000.5", {"channel": 2, "energy_wh": 6000.5}),
        (Family.SHELLY_GEN1, "shellies/p/online", "true", {"online": True}),
        (
            Family.SHELLY_GEN1,
            "/status",
            '{"emeters":[{"power":-5.0,"voltage":231.0,"is_valid":true,"total":77.7}]}',
            {"power_w": 5.0, "voltage_v": 231.0, "energy_wh": 77.7},
        ),
        (
            Family.SHELLY_GEN1,
            "/status",
            '{"relays":[{"ison":true}],"meters":[{"power":0,"is_valid":false,"total":60}]}',
            {"power_w": None, "energy_wh": None, "relay_on": True, "flags": frozenset({Flag.POWER_INVALID})},
        ),
        (
            Family.TASMOTA,
            "tele/p/SENSOR",
            '{"Time":"2026-03-01T08:00:00+08:00","ENERGY":{"Total":1.5,"Power":7,"Voltage":230,"Current":0.03}}',
            {
                "at": datetime(2026, 3, 1, 0, 0, tzinfo=UTC),
                "energy_wh": 1500.0,
                "current_a": 0.03,
                "energy_step_wh": 1.0,
            },
        ),
        (
            Family.TASMOTA,
            "stat/p/STATUS10",
            '{"StatusSNS":{"Time":"2026-03-01T08:00:00","ENERGY":{"Total":3,"Power":7}}}',
            {"at": None, "power_w": 7.0, "energy_wh": 3000.0, "energy_step_wh": 1000.0},
        ),
        (Family.TASMOTA, "stat/p/STATUS11", '{"StatusSTS":{"POWER":"OFF"}}', {"relay_on": False}),
        (Family.TASMOTA, "stat/p/RESULT", '{"POWER2":"ON"}', {"channel": 1, "relay_on": True}),
        (Family.TASMOTA, "stat/p/POWER", "ON", {"channel": 0, "relay_on": True}),
        (
            Family.TASMOTA,
            "tele/p/SENSOR",
            '{"Time":188,"ENERGY":{"Power":1}}',
            {"flags": frozenset({Flag.CLOCK_UNSET})},
        ),
        (Family.TASMOTA, "tele/p/SENSOR", '{"Time":"soon","ENERGY":{"Power":1}}', {"flags": frozenset(), "at": None}),
        (
            Family.ZIGBEE2MQTT,
            "zigbee2mqtt/p",
            '{"power":null,"state":null,"voltage":230}',
            {"power_w": None, "voltage_v": 230},
        ),
        (
            Family.ZIGBEE2MQTT,
            "zigbee2mqtt/p",
            '{"last_seen":1785145300000}',
            {"at": datetime(2026, 7, 27, 9, 41, 40, tzinfo=UTC)},
        ),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/p", '{"last_seen":"2026-07-27T09:41:40"}', {"at": None}),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/p/availability", '{"state":"offline"}', {"online": False}),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/p/availability", "online", {"online": True}),
        (Family.ZIGBEE2MQTT, "zigbee2mqtt/p/energy", "1.25", {"energy_wh": 1250.0, "power_w": None}),
    ],
)
def test_messages_of_the_same_kinds_are_read_alike(
    family: Family, topic: str, raw: str, expected: dict[str, Any]
) -> None:
    (reading,) = READERS[family](topic, raw.encode())
    assert {name: getattr(reading, name) for name in expected} == expected


def test_what_is_no_measurement_is_no_reading() -> None:
    assert READERS[Family.SHELLY]("p/status/wifi", b'{"rssi":-73}') == []
    assert READERS[Family.SHELLY]("p/status/mqtt", b"7") == []
    assert READERS[Family.SHELLY_GEN1]("shellies/p/info", b"{}") == []
    assert READERS[Family.SHELLY_GEN1]("shellies/p/relay/0/temperature", b"30") == []
    assert READERS[Family.TASMOTA]("tele/p/INFO1", b"{}") == []
    assert READERS[Family.TASMOTA]("tele/p/SENSOR", b'{"DS18B20":{"Temperature":20.1}}') == []
    assert READERS[Family.ZIGBEE2MQTT]("zigbee2mqtt/p/linkquality", b"40") == []


VALUES = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers()
CONTENT = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ENERGY", "Power", "Total", "POWER1", "ANALOG", "CTEnergy1", "params", "method", "ts"])
            | st.sampled_from(["Voltage", "Current", "Time", "relays", "meters", "emeters", "total", "sys", "uptime"])
            | st.sampled_from(["switch:0", "apower", "aenergy", "power", "energy", "state", "last_seen", "emdata:1"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    family=st.sampled_from(Family),
    end=st.sampled_from(
        ["events/rpc", "status/switch:0", "SENSOR", "STATE", "LWT", "power", "online", "relay/0/energy", "status", "x"]
    ),
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
    # Whatever a box makes of it, the server must take it: one bad value would cost a whole message.
    mean_w = meter.mean_w(0, start=NOW, end=NOW + timedelta(seconds=10))
    if mean_w is not None:
        said = {**minute(1, mean_w), "e": meter.energy_wh(0, at=NOW + timedelta(seconds=10))}
        parse("m", payload=json.dumps(said).encode())


def test_tasmota_is_heard_under_both_its_roots() -> None:
    assert {"tele/p/SENSOR", "stat/p/STATUS10"} <= set(topics(Family.TASMOTA, prefix="tele/p"))
    assert topics(Family.ZIGBEE2MQTT, prefix="zigbee2mqtt/p")[0] == "zigbee2mqtt/p"
