"""Meters with more than one relay, clamp, socket or phase: real messages, and what must not be taken for off."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from telemetry.adapters.meter import READERS, Family, Meter, topics
from telemetry.adapters.values import Flag, MeterReading

NOW = datetime(2026, 9, 9, 10, 0, tzinfo=UTC)


def read(family: Family, topic: str, content: dict[str, Any]) -> list[MeterReading]:
    return READERS[family](topic, json.dumps(content).encode())


def heard(family: Family, *messages: tuple[str, dict[str, Any] | str]) -> Meter:
    meter = Meter(family)
    for topic, content in messages:
        raw = content if isinstance(content, str) else json.dumps(content)
        meter.take(topic, raw.encode(), received_at=NOW)
    return meter


# What a Pro EM-50 said of itself in https://github.com/evcc-io/evcc/discussions/12385, with its contact open.
EM1 = ("p/status/em1:0", {"id": 0, "current": 22.78, "voltage": 224.6, "act_power": 5080.3, "aprt_power": 5142.4})
CONTACT = ("p/status/switch:0", {"id": 0, "source": "HTTP_in", "output": False, "temperature": {"tC": 29.4}})


@pytest.mark.parametrize(
    ("family", "clamp", "contact"),
    [
        (Family.SHELLY, EM1, CONTACT),
        (Family.SHELLY_GEN1, ("shellies/em/emeter/0/power", "5080.3"), ("shellies/em/relay/0", "off")),
        (
            Family.TASMOTA,
            ("tele/p/SENSOR", {"ANALOG": {"CTEnergy1": {"Energy": 0.5, "Power": 5080.3}}}),
            ("tele/p/STATE", {"POWER": "OFF"}),
        ),
    ],
)
def test_an_open_contact_says_nothing_of_what_a_clamp_measures(
    family: Family, clamp: tuple[str, Any], contact: tuple[str, Any]
) -> None:
    assert heard(family, clamp, contact).power_w(0, at=NOW) == 5080.3
    assert heard(family, contact, clamp).power_w(0, at=NOW) == 5080.3


def test_one_meter_behind_several_relays_is_off_by_none_of_them() -> None:
    sensor = ("tele/p/SENSOR", {"ENERGY": {"Total": 1.5, "Power": 45}})
    state = ("tele/p/STATE", {"POWER1": "OFF", "POWER2": "ON", "POWER3": "OFF"})
    assert heard(Family.TASMOTA, sensor, state).power_w(0, at=NOW) == 45
    assert heard(Family.TASMOTA, state).power_w(0, at=NOW) is None
    assert heard(Family.TASMOTA, state, sensor, ("stat/p/POWER1", "OFF")).power_w(0, at=NOW) == 45


def test_a_socket_with_a_meter_of_its_own_is_off_by_its_relay() -> None:
    sensor = ("tele/p/SENSOR", {"ENERGY": {"Total": [1.5, 2.5], "Power": [45, 60]}})
    state = ("tele/p/STATE", {"POWER1": "OFF", "POWER2": "ON"})
    for messages in ((sensor, state), (state, sensor, state)):
        meter = heard(Family.TASMOTA, *messages)
        assert (meter.power_w(0, at=NOW), meter.power_w(1, at=NOW)) == (0.0, 60)


def test_the_time_of_a_wrapped_answer_is_read_as_that_of_a_report() -> None:
    sensor = {"ENERGY": {"Total": 1.5, "Power": 7}}
    (unset,) = read(Family.TASMOTA, "stat/p/STATUS10", {"StatusSNS": {"Time": "1970-01-01T00:00:09", **sensor}})
    assert unset.flags == {Flag.CLOCK_UNSET}
    (zoned,) = read(Family.TASMOTA, "stat/p/STATUS8", {"StatusSNS": {"Time": "2026-03-01T08:00:00+08:00", **sensor}})
    assert zoned.at == datetime(2026, 3, 1, 0, 0, tzinfo=UTC)


def test_a_shelly_that_cannot_measure_is_not_believed() -> None:
    broken = {"id": 0, "act_power": 0.0, "errors": ["power_meter_failure"]}
    (reading,) = read(Family.SHELLY, "p/status/em1:0", broken)
    assert (reading.power_w, reading.flags) == (None, frozenset({Flag.POWER_INVALID}))
    (reading,) = read(Family.SHELLY, "p/status/switch:0", {"apower": 2900.0, "errors": ["out_of_range:apower"]})
    assert (reading.power_w, reading.flags) == (None, frozenset({Flag.POWER_INVALID}))
    (reading,) = read(Family.SHELLY, "p/status/switch:0", {"apower": 2900.0, "errors": ["overtemp"]})
    assert (reading.power_w, reading.flags) == (2900.0, frozenset())
    said = {"method": "NotifyStatus", "params": {"ts": 17.0, "em1:0": broken}}
    (reading,) = read(Family.SHELLY, "p/events/rpc", said)
    assert reading.flags == {Flag.POWER_INVALID, Flag.CLOCK_UNSET}


@pytest.mark.parametrize("kind", ["rgb", "rgbw", "cct"])
def test_every_output_of_a_shelly_that_meters_is_read(kind: str) -> None:
    (reading,) = read(Family.SHELLY, f"p/status/{kind}:0", {"output": True, "apower": 12.5, "aenergy": {"total": 3.0}})
    assert (reading.power_w, reading.energy_wh, reading.relay_on) == (12.5, 3.0, True)


def test_each_socket_of_a_zigbee_strip_is_a_channel() -> None:
    said = {
        "state_l1": "ON", "state_l2": "OFF", "power_l1": 12.5, "power_l2": 0, "energy_l1": 1.25, "energy_l2": 0.5,
        "current_l1": 0.06, "current_l2": 0, "voltage": 231, "linkquality": 80,
    }  # fmt: skip
    found = read(Family.ZIGBEE2MQTT, "zigbee2mqtt/strip", said)
    assert [(each.channel, each.power_w, each.energy_wh, each.current_a) for each in found] == [
        (0, 12.5, 1250.0, 0.06),
        (1, 0.0, 500.0, 0.0),
    ]
    assert [(each.relay_on, each.voltage_v) for each in found] == [(True, 231), (False, 231)]
    (reading,) = READERS[Family.ZIGBEE2MQTT]("zigbee2mqtt/strip/power_l2", b"7.5")
    assert (reading.channel, reading.power_w) == (1, 7.5)
    assert "zigbee2mqtt/strip/power_l2" in topics(Family.ZIGBEE2MQTT, prefix="zigbee2mqtt/strip")


def test_one_zigbee_meter_for_several_sockets_is_off_by_none_of_them() -> None:
    said = {"power": 45, "energy": 1.5, "state_l1": "OFF", "state_l2": "ON"}
    assert heard(Family.ZIGBEE2MQTT, ("zigbee2mqtt/strip", said)).power_w(0, at=NOW) == 45


def test_phases_beside_the_first_are_channels_of_their_own() -> None:
    # https://github.com/Koenkk/zigbee2mqtt/issues/32596
    said = {
        "ac_frequency": 49.96, "current": 0.44, "current_neutral": 0.03, "current_phase_b": 1.85,
        "current_phase_c": 0, "energy": 299.7, "linkquality": 180, "power": 89, "power_apparent": 95,
        "power_apparent_phase_b": 354, "power_apparent_phase_c": 0, "power_factor": 0.92, "power_phase_b": 384,
        "power_phase_c": 0, "power_reactive": 38, "voltage": 231.2, "voltage_phase_b": 230.5, "voltage_phase_c": 228.4,
    }  # fmt: skip
    found = read(Family.ZIGBEE2MQTT, "zigbee2mqtt/meter", said)
    assert [(each.channel, each.power_w, each.voltage_v, each.current_a) for each in found] == [
        (0, 89.0, 231.2, 0.44),
        (1, 384.0, 230.5, 1.85),
        (2, 0.0, 228.4, 0.0),
    ]
    # The one counter may be that of all phases: it is told for their sum, and for none of them.
    meter = heard(Family.ZIGBEE2MQTT, ("zigbee2mqtt/meter", said))
    assert meter.power_w(0, 1, 2, at=NOW) == 473
    assert (meter.energy_wh(0, 1, 2, at=NOW), meter.energy_wh(0, at=NOW)) == (299_700.0, None)


def test_a_total_beside_named_phases_is_the_power_and_they_are_its_phases() -> None:
    # https://github.com/Koenkk/zigbee2mqtt/issues/22639
    said = {
        "current_a": 0.785, "current_b": 0.225, "current_c": 0.681, "energy": 1232.36,
        "last_seen": "2024-07-22T12:46:08+02:00", "linkquality": 61, "power": 278, "power_a": 171, "power_b": 27,
        "power_c": 84, "produced_energy": 44.4, "state": "ON", "voltage_a": 233.9, "voltage_b": 234.3,
    }  # fmt: skip
    (reading,) = read(Family.ZIGBEE2MQTT, "zigbee2mqtt/Sicherungskasten", said)
    assert (reading.power_w, reading.power_w_phases, reading.energy_wh) == (278.0, (171.0, 27.0, 84.0), 1_232_360.0)
    assert reading.relay_on is True
    # Two clamps that nobody sums are two channels.
    found = read(Family.ZIGBEE2MQTT, "zigbee2mqtt/clamps", {"power_a": 171, "power_b": 27, "energy_a": 1.5})
    assert [(each.channel, each.power_w, each.energy_wh) for each in found] == [(0, 171.0, 1500.0), (1, 27.0, None)]


def test_a_voltage_of_a_phase_without_a_power_is_no_channel() -> None:
    # https://github.com/Koenkk/zigbee2mqtt/issues/19087: the power is that of all phases.
    said = {"current": 2.8, "current_phase_b": 6553.5, "energy": 149655.27, "power": 1634, "voltage_phase_b": 240.5}
    (reading,) = read(Family.ZIGBEE2MQTT, "zigbee2mqtt/meter", said)
    assert (reading.channel, reading.power_w, reading.energy_wh) == (0, 1634.0, 149_655_270.0)


def test_a_zigbee_device_may_have_slashes_in_its_name() -> None:
    (reading,) = read(Family.ZIGBEE2MQTT, "zigbee2mqtt/lab/room 3/plug", {"power": 12.5})
    assert reading.power_w == 12.5
    (reading,) = READERS[Family.ZIGBEE2MQTT]("zigbee2mqtt/lab/plug/power", b"12.5")
    assert reading.power_w == 12.5
    (reading,) = READERS[Family.ZIGBEE2MQTT]("zigbee2mqtt/lab/plug/availability", b'{"state":"offline"}')
    assert reading.online is False
    assert read(Family.ZIGBEE2MQTT, "zigbee2mqtt/lab/plug/set", {"state": "ON"}) == []
    meter = heard(Family.ZIGBEE2MQTT, ("zigbee2mqtt/lab/plug", {"power": 12.5}))
    assert meter.power_w(0, at=NOW + timedelta(minutes=1)) == 12.5
