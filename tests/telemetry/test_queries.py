"""What pages and reconciliation are told: states, coverage, curves. Silence is unknown, never off."""

import pytest

from telemetry.queries import coverage, live_states, power_between, watermark
from telemetry.states import State
from tests.telemetry.wire import BOX, RUN_W, STANDBY_W, Server, at, day

HOURS = day((60, STANDBY_W), (30, RUN_W), (30, STANDBY_W))


def state(server: Server, *, now_min: float) -> tuple[State, float | None]:
    with server.database.transaction() as session:
        live = live_states(session, boxes=[BOX], now=at(now_min))[BOX, 0]
    return live.state, live.power_w


def test_a_box_that_never_spoke_has_no_state(server: Server) -> None:
    server.enrol()
    with server.database.transaction() as session:
        assert live_states(session, boxes=[BOX], now=at(0)) == {}
        assert watermark(session, box=BOX) is None


def test_a_silent_box_is_unknown_and_not_off(server: Server) -> None:
    server.enrol()
    server.measured(HOURS[:75])
    server.derive()
    assert state(server, now_min=76) == (State.RUNNING, RUN_W)
    assert state(server, now_min=91) == (State.UNKNOWN, None)


def test_a_box_whose_will_was_read_is_unknown_at_once(server: Server) -> None:
    server.enrol()
    server.measured(HOURS[:75])
    server.derive()
    server.says("state", {"on": 1, "boot": 1, "conn": 1}, received_at=at(75))
    assert state(server, now_min=76) == (State.RUNNING, RUN_W)
    server.says("state", {"on": 0, "boot": 1, "conn": 1}, received_at=at(76))
    assert state(server, now_min=77) == (State.UNKNOWN, None)


def test_alive_is_not_active(server: Server) -> None:
    server.enrol()
    server.measured(HOURS[:75])
    server.derive()
    server.says("hb", {"boot": 1, "conn": 1, "seq": 75, "buf": 0}, received_at=at(100))
    assert state(server, now_min=100) == (State.UNKNOWN, None)


def test_the_state_lasts_from_when_it_began(server: Server) -> None:
    server.enrol()
    for start in range(0, len(HOURS), 6):
        server.measured(HOURS[start : start + 6])
        server.derive()
    with server.database.transaction() as session:
        live = live_states(session, boxes=[BOX], now=at(121))[BOX, 0]
    assert (live.state, live.since, live.last_live_at) == (State.STANDBY, at(90), at(120))


def test_coverage_counts_what_the_box_saw_and_names_the_gaps(server: Server) -> None:
    server.enrol()
    server.measured(HOURS[:20] + HOURS[50:])
    with server.database.transaction() as session:
        seen = coverage(session, box=BOX, channel=0, start=at(-10), end=at(130))
        assert seen.gaps == ((at(-10), at(0)), (at(20), at(50)), (at(120), at(130)))
        assert (seen.known_s, seen.unknown_s) == (90 * 60, 50 * 60)
        nothing = coverage(session, box=BOX, channel=0, start=at(5), end=at(5))
        assert (nothing.known_s, nothing.unknown_s, nothing.gaps) == (0, 0, ())
        with pytest.raises(ValueError, match="before"):
            coverage(session, box=BOX, channel=0, start=at(5), end=at(4))


def test_coverage_of_a_time_between_two_messages_is_known(server: Server) -> None:
    server.enrol()
    server.measured(HOURS)
    with server.database.transaction() as session:
        assert coverage(session, box=BOX, channel=0, start=at(10.2), end=at(10.4)).unknown_s == 0


def test_the_curve_keeps_its_peaks_when_it_is_reduced(server: Server) -> None:
    server.enrol()
    messages = [*HOURS]
    messages[40] = {**messages[40], "p": [5.0, 5.0, 900.0, 5.0, 5.0, 5.0]}
    server.measured(messages)
    with server.database.transaction() as session:
        whole = power_between(session, box=BOX, channel=0, start=at(0), end=at(120))
        reduced = power_between(session, box=BOX, channel=0, start=at(0), end=at(120), points_max=24)
    assert len(whole) == 720
    assert len(reduced) == 24
    assert max(power_w for _, power_w, _ in reduced) == 900.0
    assert [state for at_, _, state in whole if at_ == at(75)] == [State.RUNNING]
    assert {state for at_, _, state in whole if at_ < at(40)} == {State.STANDBY}


def test_the_watermark_is_the_first_hole_or_the_newest_message(server: Server) -> None:
    server.enrol()
    server.measured(HOURS[:30] + HOURS[31:60])
    with server.database.transaction() as session:
        assert watermark(session, box=BOX) == at(30)
    server.measured([HOURS[30]])
    with server.database.transaction() as session:
        assert watermark(session, box=BOX) == at(60)
