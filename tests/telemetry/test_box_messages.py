"""Bytes from the network become frozen values or a reason, and nothing else."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import Birth, Measured, Presence, Topic, encode_ack, parse, parse_ack, parse_topic
from tests.telemetry.wire import minute, payload


def reason(kind: str, raw: bytes) -> DeadReason:
    with pytest.raises(MessageRefused) as refused:
        parse(kind, payload=raw)
    return refused.value.reason


def test_a_measured_message_keeps_what_the_box_said() -> None:
    message = parse("m", payload=payload(minute(7, 12.5, e=99.5, h=1)))
    assert isinstance(message, Measured)
    assert (message.boot, message.seq, message.channel, message.step_ms) == (1, 7, 0, 10_000)
    assert message.powers_w == (12.5,) * 6
    assert (message.energy_wh, message.synced, message.buffered, message.uptime_ms) == (99.5, True, True, 360_000)


def test_a_clock_that_was_never_set_gives_no_time() -> None:
    for t0 in (0, 3_000, 946_684_800_000, None):
        message = parse("m", payload=payload(minute(1, 1.0, t0=t0)))
        assert isinstance(message, Measured)
        assert message.device_ms is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", DeadReason.NOT_JSON),
        (b"\xff\xfe", DeadReason.NOT_JSON),
        (b"230.5", DeadReason.NOT_AN_OBJECT),
        (b"NaN", DeadReason.NOT_JSON),
        (b"null", DeadReason.NOT_AN_OBJECT),
        (b"[" * 5000, DeadReason.NOT_JSON),
        (b'{"v":1}', DeadReason.FIELD_MISSING),
        (b'{"v":2}', DeadReason.VERSION_UNKNOWN),
        (b"{}", DeadReason.FIELD_MISSING),
        (b"9" * 5000, DeadReason.NOT_JSON),
        (b" " * 1_000_000, DeadReason.TOO_LARGE),
    ],
    ids=lambda value: str(value)[:20],
)
def test_poison_is_named(raw: bytes, expected: DeadReason) -> None:
    assert reason("m", raw) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"p": "12"}, DeadReason.FIELD_WRONG),
        ({"p": []}, DeadReason.OUT_OF_RANGE),
        ({"p": [True]}, DeadReason.FIELD_WRONG),
        ({"p": [-1.0]}, DeadReason.OUT_OF_RANGE),
        ({"p": [1e300]}, DeadReason.OUT_OF_RANGE),
        ({"p": [10**400]}, DeadReason.OUT_OF_RANGE),
        ({"p": [1.0] * 601}, DeadReason.OUT_OF_RANGE),
        ({"p": [1.0] * 100, "dt": 60_000}, DeadReason.OUT_OF_RANGE),
        ({"seq": 0}, DeadReason.OUT_OF_RANGE),
        ({"seq": 1.0}, DeadReason.FIELD_WRONG),
        ({"seq": 2**53}, DeadReason.OUT_OF_RANGE),
        ({"boot": None}, DeadReason.FIELD_WRONG),
        ({"dt": 1}, DeadReason.OUT_OF_RANGE),
        ({"e": -3}, DeadReason.OUT_OF_RANGE),
        ({"up0": -1}, DeadReason.OUT_OF_RANGE),
        ({"sync": "yes"}, DeadReason.FIELD_WRONG),
        ({"t0": "2026-05-04"}, DeadReason.FIELD_WRONG),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_is_named(changes: dict[str, Any], expected: DeadReason) -> None:
    assert reason("m", payload({**minute(1, 1.0), **changes})) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=10,
)
MORE = ["buf", "cfg", "channels", "cmd", "doubts", "epoch", "indicative", "lost", "new"]
FIELDS = [
    *MORE,
    "v",
    "boot",
    "seq",
    "c",
    "t0",
    "t",
    "up0",
    "up",
    "dt",
    "p",
    "e",
    "sync",
    "h",
    "on",
    "conn",
    "pending",
    "fw",
]


@given(
    kind=st.sampled_from(["m", "ev", "hb", "birth", "state"]),
    raw=st.binary(max_size=50)
    | st.dictionaries(st.sampled_from(FIELDS), JSON | st.just(1)).map(lambda value: json.dumps(value).encode()),
)
def test_no_bytes_make_anything_but_a_value_or_a_reason(kind: str, raw: bytes) -> None:
    with contextlib.suppress(MessageRefused):
        parse(kind, payload=raw)


@given(st.text(max_size=40) | st.from_regex(r"cb/v1/[0-9]{1,3}/[a-z+#]{0,4}/(m|ack|state)"))
def test_only_the_topics_of_boxes_are_taken(text: str) -> None:
    try:
        taken = parse_topic(text)
    except MessageRefused as refused:
        assert refused.reason is DeadReason.TOPIC_UNKNOWN  # noqa: PT017
    else:
        assert str(taken) == text


@pytest.mark.parametrize(
    "text",
    [
        "cb/v1/64/cb-001/m",
        "cb/v1/7/cb-001/m",
        "cb/v1/007/cb-001/m",
        "cb/v1/\u0660\u0667/cb-001/m",
        "cb/v2/07/cb-001/m",
        "cb/v1/07/cb-001/ack",
        "cb/v1/07/cb-001/cmd",
        "cb/v1/07/cb-001",
        "cb/v1/07/cb-001/m/x",
    ],
)
def test_a_topic_of_no_box_is_refused(text: str) -> None:
    with pytest.raises(MessageRefused) as refused:
        parse_topic(text)
    assert refused.value.reason is DeadReason.TOPIC_UNKNOWN


def test_a_topic_says_shard_box_and_kind() -> None:
    assert parse_topic("cb/v1/63/cb-001/m") == Topic(shard=63, box="cb-001", kind="m")


def test_a_birth_names_what_the_box_still_holds() -> None:
    content = {"boot": 3, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[2, 5, 9], [3, 1, 0]]}
    birth = parse("birth", payload=payload(content))
    assert isinstance(birth, Birth)
    assert birth.pending == ((2, 5, 9), (3, 1, 0))
    assert reason("birth", payload({**content, "pending": [[2, 9, 5]]})) is DeadReason.OUT_OF_RANGE
    assert reason("birth", payload({**content, "fw": "a\0b"})) is DeadReason.OUT_OF_RANGE


def test_a_will_says_which_connection_died() -> None:
    assert parse("state", payload=b'{"on":0,"boot":17,"conn":4}') == Presence(boot=17, connection=4, online=False)


def test_an_acknowledgement_survives_the_way() -> None:
    assert parse_ack(encode_ack(boot=17, seq=4711)) == (17, 4711)
