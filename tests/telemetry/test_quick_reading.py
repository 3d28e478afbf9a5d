"""The quick and the careful way to read a message agree on everything, and rows arrive as they were read."""

import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telemetry import rows
from telemetry.errors import DeadReason, MessageRefused
from telemetry.messages import Measured, Uplink, parse
from telemetry.quick import read, topic_of
from tests.telemetry.wire import minute

NUMBERS = (
    st.integers(-2, 3)
    | st.sampled_from([59, 600, 60_000, 60_001, 2**53 - 1, 2**53, 10**400, 1_777_881_600_000])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([0.0, -0.0, 1.0, 1e6, 1e6 + 0.1, 1e12, 1e308])
)
ANYTHING = NUMBERS | st.none() | st.booleans() | st.text(max_size=3) | st.lists(NUMBERS, max_size=3)
CHANGES = st.dictionaries(
    st.sampled_from(["v", "boot", "seq", "c", "t0", "up0", "dt", "p", "e", "sync", "h", "x"]),
    ANYTHING | st.lists(NUMBERS, min_size=1, max_size=3),
    max_size=2,
)


def outcome(reader: Any, raw: bytes) -> Uplink | DeadReason:
    try:
        message: Uplink = reader("m", payload=raw)
    except MessageRefused as refused:
        return refused.reason
    return message


@given(changes=CHANGES, dropped=st.sets(st.sampled_from(["v", "p", "e", "t0", "sync"]), max_size=1))
@example(changes={"p": [1.0] * 61, "dt": 60_000}, dropped=set())
@example(changes={"t0": 0}, dropped=set())
def test_the_quick_way_takes_what_the_careful_way_takes_and_nothing_else(
    changes: dict[str, Any], dropped: set[str]
) -> None:
    content = {name: value for name, value in {**minute(7, 12.5), **changes}.items() if name not in dropped}
    raw = json.dumps(content).encode()
    assert outcome(read, raw) == outcome(parse, raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"x":"\xff",' + json.dumps(minute(1, 5.0)).encode()[1:],
        json.dumps(minute(1, 5.0)).encode("utf-16"),
        b'\xef\xbb\xbf{"v":1}',
        json.dumps(minute(1, 5.0)).encode() + b"x",
        json.dumps(minute(1, 5.0)).encode() + b" " * 20_000,
        b'{"seq":3,' + json.dumps(minute(1, 5.0)).encode()[1:],
        b"[" * 100_000,
        json.dumps(minute(1, 5.0)).replace("5.0", "1e400").encode(),
        json.dumps(minute(1, 5.0)).replace("5.0", "NaN").encode(),
    ],
    ids=["bad text", "utf-16", "byte order mark", "more", "long", "twice the key", "deep", "beyond floats", "NaN"],
)
def test_odd_bytes_have_the_same_outcome_both_ways(raw: bytes) -> None:
    assert outcome(read, raw) == outcome(parse, raw)


def test_a_topic_is_read_once_and_a_refusal_is_remembered() -> None:
    assert topic_of("cb/v1/07/cb-001/m") is topic_of("cb/v1/07/cb-001/m")
    assert topic_of("home/kitchen") is DeadReason.TOPIC_UNKNOWN


@pytest.mark.parametrize("powers_w", [(), (0.0,), (1.5, 300.25, 1e6)])
def test_a_row_arrives_in_the_database_as_it_was_read(database_url: str, powers_w: tuple[float, ...]) -> None:
    received_at = datetime(2026, 5, 4, 8, 0, 0, 123456, tzinfo=UTC)
    message = Measured(
        kind="m" if powers_w else "ev",
        boot=2**53 - 1,
        seq=2**40,
        channel=15,
        device_ms=None,
        uptime_ms=1234,
        step_ms=10_000,
        powers_w=powers_w,
        energy_wh=None if powers_w else 0.125,
        synced=False,
        buffered=True,
    )
    timed = Measured(**{name: getattr(message, name) for name in message.__struct_fields__} | {"device_ms": 10**12 + 1})
    with psycopg.connect(database_url, options="-c timezone=UTC") as connection:
        connection.execute(f"CREATE TEMPORARY TABLE incoming ({rows.COLUMNS})".encode())
        with connection.cursor().copy("COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(rows.copy_of([("cb-001", message, received_at), ("cb-002", timed, received_at)]))
        found = connection.execute(
            "SELECT place, box, boot, seq, kind, channel, received_at, device_at, powers_w, energy_wh, buffered,"
            " extract(epoch FROM ended_at - started_at)::integer, ended_at FROM incoming ORDER BY place"
        ).fetchall()
    expected = (2**53 - 1, 2**40, message.kind, 15, received_at)
    for place, (box, device_at) in enumerate(
        [("cb-001", None), ("cb-002", datetime(2001, 9, 9, 1, 46, 40, 1000, tzinfo=UTC))]
    ):
        assert found[place][:2] == (place, box)
        assert found[place][2:8] == (*expected, device_at)
        assert found[place][8:] == (list(powers_w), message.energy_wh, True, 10 * len(powers_w), received_at)
