"""What the server may tell a box, as bytes: the same when read, and refused with a reason where it cannot be."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.commands import (
    Command,
    Configuration,
    Configure,
    Rebirth,
    Resend,
    SetTime,
    Threshold,
    encode_command,
    parse_command,
)
from telemetry.errors import DeadReason, MessageRefused
from tests.telemetry.wire import payload

IDS, NUMBERS = st.integers(0, 2**53 - 1), st.integers(1, 2**53 - 1)
THRESHOLDS = st.tuples(st.floats(0.001, 1000), st.floats(0, 1000)).map(
    lambda each: Threshold(rest_w=each[0], run_w=each[0] + each[1])
)
CONFIGURATIONS = st.builds(
    Configuration,
    sample_s=st.integers(1, 60),
    batch=st.integers(1, 60),
    heartbeat_s=st.integers(10, 3600),
    channels=st.none() | st.sets(st.integers(0, 255), min_size=1, max_size=5).map(lambda each: tuple(sorted(each))),
    thresholds=st.dictionaries(st.integers(0, 255), THRESHOLDS, max_size=3),
)
COMMANDS = st.one_of(
    st.builds(SetTime, id=IDS, time_ms=st.integers(1_577_836_800_000, 4_102_444_800_000)),
    st.builds(Configure, id=IDS, configuration=CONFIGURATIONS),
    st.builds(Rebirth, id=IDS),
    st.tuples(IDS, NUMBERS, st.lists(NUMBERS, min_size=2, max_size=2).map(sorted)).map(
        lambda each: Resend(id=each[0], boot=each[1], first=each[2][0], last=each[2][1])
    ),
)


@given(COMMANDS)
def test_a_command_survives_the_way(command: Command) -> None:
    assert parse_command(encode_command(command)) == command


@given(CONFIGURATIONS)
def test_a_configuration_has_the_same_hash_on_both_ends(configuration: Configuration) -> None:
    read = parse_command(encode_command(Configure(id=1, configuration=configuration)))
    assert isinstance(read, Configure)
    assert read.configuration.hash() == configuration.hash()


def test_each_part_of_a_configuration_is_in_its_hash() -> None:
    others = [
        *(
            Configuration(sample_s=20),
            Configuration(batch=6),
            Configuration(heartbeat_s=30),
            Configuration(channels=(0,)),
        ),
        Configuration(thresholds={0: Threshold(run_w=2, rest_w=1)}),
        Configuration(thresholds={1: Threshold(run_w=2, rest_w=1)}),
    ]
    assert len({each.hash() for each in [Configuration(), *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"reboot", DeadReason.NOT_JSON),
        (b"7", DeadReason.NOT_AN_OBJECT),
        (b" " * 20_000, DeadReason.TOO_LARGE),
        ({"do": "rebirth"}, DeadReason.FIELD_MISSING),
        ({"id": 1}, DeadReason.FIELD_MISSING),
        ({"id": "1", "do": "rebirth"}, DeadReason.FIELD_WRONG),
        ({"id": 1, "do": "explode"}, DeadReason.FIELD_WRONG),
        ({"id": 1, "do": "time"}, DeadReason.FIELD_MISSING),
        ({"id": 1, "do": "time", "t": 5000}, DeadReason.OUT_OF_RANGE),
        ({"id": 1, "do": "configuration", "sample_s": 0}, DeadReason.OUT_OF_RANGE),
        ({"id": 1, "do": "configuration", "sample_s": 60, "batch": 61}, DeadReason.OUT_OF_RANGE),
        ({"id": 1, "do": "configuration", "batch": True}, DeadReason.FIELD_WRONG),
        ({"id": 1, "do": "configuration", "channels": []}, DeadReason.OUT_OF_RANGE),
        ({"id": 1, "do": "configuration", "channels": [1, 1]}, DeadReason.OUT_OF_RANGE),
        ({"id": 1, "do": "configuration", "channels": "all"}, DeadReason.FIELD_WRONG),
        ({"id": 1, "do": "configuration", "thresholds": {"x": {}}}, DeadReason.FIELD_WRONG),
        ({"id": 1, "do": "configuration", "thresholds": {"0": {"run_w": 5}}}, DeadReason.FIELD_MISSING),
        ({"id": 1, "do": "configuration", "thresholds": {"0": {"run_w": 5, "rest_w": 6}}}, DeadReason.OUT_OF_RANGE),
        ({"id": 1, "do": "configuration", "thresholds": {"999": {"run_w": 5, "rest_w": 4}}}, DeadReason.OUT_OF_RANGE),
        ({"id": 1, "do": "resend", "boot": 1, "first": 9, "last": 8}, DeadReason.OUT_OF_RANGE),
        ({"id": 1, "do": "resend", "boot": 1, "first": 0, "last": 8}, DeadReason.OUT_OF_RANGE),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_command_that_cannot_be_is_refused_with_a_reason(content: bytes | dict[str, Any], reason: DeadReason) -> None:
    with pytest.raises(MessageRefused) as refused:
        parse_command(content if isinstance(content, bytes) else payload(content))
    assert refused.value.reason is reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["0", "run_w", "rest_w"]), inner),
    max_leaves=8,
)


@given(
    do=st.sampled_from(["time", "configuration", "rebirth", "resend"]),
    more=st.dictionaries(st.sampled_from(["t", "sample_s", "batch", "channels", "thresholds", "boot", "first"]), JSON),
)
def test_no_bytes_make_anything_but_a_command_or_a_reason(do: str, more: dict[str, Any]) -> None:
    with contextlib.suppress(MessageRefused):
        parse_command(json.dumps({"id": 1, "do": do, **more}).encode())
