"""A batch of messages becomes rows: once, however often it comes, and nothing is taken that should not be."""

import random

from sqlalchemy import event, func, select

from telemetry import boxes
from telemetry.ingest import Arrival
from telemetry.models import DeadLetter, HighWater, Message, Presence
from telemetry.queries import watermark
from tests.telemetry.wire import BOX, START, Server, arrival, at, minute, payload, topic


def high_water(server: Server, *, boot: int = 1) -> tuple[int, int, int]:
    with server.database.reader() as session:
        row = session.get_one(HighWater, (BOX, boot))
        return row.complete_seq, row.known_seq, row.lost


def stored(server: Server) -> int:
    with server.database.reader() as session:
        return session.scalar(select(func.count()).select_from(Message).where(Message.kind != "dead")) or 0


def presence(server: Server) -> Presence:
    with server.database.transaction() as session:
        return session.get_one(Presence, BOX)


def test_the_same_message_twice_is_stored_once_and_acknowledged_twice(server: Server) -> None:
    server.enrol()
    assert server.measured([minute(1, 5.0), minute(1, 5.0)]) == 1
    assert server.measured([minute(1, 5.0)]) == 1
    assert stored(server) == 1
    assert server.dead_reasons() == []


def test_the_acknowledgement_stops_before_a_hole_and_leaps_when_it_is_filled(server: Server) -> None:
    server.enrol()
    assert server.measured([minute(seq, 5.0) for seq in (1, 2, 4, 5)]) == 2
    assert server.measured([minute(3, 5.0)]) == 5
    assert high_water(server) == (5, 5, 0)


def test_in_any_order_all_is_acknowledged_in_the_end(server: Server) -> None:
    server.enrol()
    messages = [minute(seq, 5.0) for seq in range(1, 61)]
    shuffled = random.Random(7).sample(messages, len(messages))  # noqa: S311 - a fixed shuffle
    for start in range(0, 60, 7):
        last = server.measured(shuffled[start : start + 7])
    assert last == 60


def test_poison_becomes_a_dead_letter_and_the_rest_of_the_batch_is_stored(server: Server) -> None:
    server.enrol()
    strangers = [
        Arrival(topic=topic("m"), payload=b"NaN", received_at=START),
        Arrival(topic=topic("m"), payload=b"7.5", received_at=START),
        Arrival(topic=topic("m"), payload=b"x" * 1_000_000, received_at=START),
        Arrival(topic="home/kitchen", payload=b"{}", received_at=START),
        Arrival(topic=topic("m").replace("cb-001", "c\0b"), payload=b"{}", received_at=START),
        Arrival(topic=topic("m", box="cb-404"), payload=arrival(minute(1, 5.0)).payload, received_at=START),
        Arrival(topic=f"cb/v1/63/{BOX}/m", payload=arrival(minute(1, 5.0)).payload, received_at=START),
    ]
    assert not topic("m").startswith("cb/v1/63/")
    server.receive(*strangers, arrival(minute(1, 5.0)), arrival(minute(2, 5.0, c=1)))
    assert sorted(server.dead_reasons()) == sorted(
        [
            *("not_json", "not_an_object", "too_large", "topic_unknown", "field_missing"),
            *("box_unknown", "shard_wrong", "channel_unknown"),
        ]
    )
    assert stored(server) == 1


def test_a_message_that_can_never_be_taken_is_kept_whole_and_does_not_hold_up_its_box(server: Server) -> None:
    server.enrol()
    wrong = [
        minute(2, [5.0] * 60, c=1),  # two meters hang on a box that was enrolled with one channel
        minute(3, [2_000_000.0] * 60),
        minute(4, 5.0, up0="soon"),
        {"boot": 1, "seq": 5, "v": 1},
    ]
    (found,) = server.receive(
        arrival(minute(1, 5.0)),
        *(Arrival(topic=topic("m"), payload=payload(message), received_at=at(9)) for message in wrong),
        arrival(minute(6, 5.0)),
    )
    assert (found.seq, found.hole) == (6, None)
    with server.database.reader() as session:
        letters = session.scalars(select(DeadLetter).order_by(DeadLetter.size_bytes.desc())).all()
        assert len(letters) == 4
        assert {bytes(letter.head) for letter in letters} == {payload(message) for message in wrong}
        assert watermark(session, box=BOX) == at(6)
    server.derive()
    with server.database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Message).where(Message.kind == "m")) == 2
    # Under a topic that is not the box's own it may be anybody's.
    strange = arrival({**minute(7, 5.0), "p": "much"})
    server.receive(Arrival(topic=f"cb/v1/63/{BOX}/m", payload=strange.payload, received_at=at(9)))
    assert high_water(server) == (6, 6, 0)
    # A message that can be taken has its number, whichever came first.
    assert server.measured([minute(4, 5.0), minute(7, 5.0)]) == 7
    server.receive(Arrival(topic=topic("m"), payload=payload({"boot": 1, "seq": 1, "v": 1}), received_at=at(9)))
    assert (stored(server), server.dead_reasons().count("sequence_reused")) == (4, 0)
    # A newer format is waited for: the box keeps it until we can read it.
    server.receive(Arrival(topic=topic("m"), payload=payload(minute(8, 5.0, v=2)), received_at=at(9)))
    assert high_water(server) == (7, 7, 0)


def test_a_revoked_box_is_heard_no_more(server: Server) -> None:
    server.enrol()
    with server.database.transaction() as session:
        boxes.revoke(session, code=BOX, at=at(5))
    assert server.measured([minute(1, 5.0)]) == 0
    assert (stored(server), server.dead_reasons()) == (0, ["box_revoked"])


def test_a_box_that_lost_count_of_its_boots_does_not_overwrite_evidence(server: Server) -> None:
    server.enrol()
    server.measured([minute(1, 100.0)])
    server.measured([minute(1, 5.0)])
    assert (stored(server), server.dead_reasons()) == (1, ["sequence_reused"])


def test_a_birth_gives_up_what_the_box_no_longer_has(server: Server) -> None:
    server.enrol()
    server.measured([minute(1, 5.0), minute(2, 5.0), minute(9, 5.0)])
    birth = {"boot": 2, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1, 8, 9], [2, 1, 0]]}
    server.says("birth", birth)
    assert high_water(server) == (7, 9, 5)
    server.measured([minute(8, 5.0)])
    assert high_water(server) == (9, 9, 5)
    server.says("birth", {**birth, "boot": 3, "pending": [[3, 1, 0]]})
    assert high_water(server) == (9, 9, 5)


def test_a_box_that_still_holds_a_boot_it_was_thought_to_have_lost_may_not_forget_what_never_came(
    server: Server,
) -> None:
    server.enrol()
    server.measured([minute(1, 5.0), minute(2, 5.0)])
    # For a while another disk was in the box; now the first is back and holds 3 to 60, of which the newest goes first.
    server.says("birth", {"boot": 1000, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1000, 1, 0]]})
    assert server.measured([minute(60, 5.0)]) == 0
    assert server.measured([minute(seq, 5.0) for seq in range(3, 60)]) == 60
    assert high_water(server) == (60, 60, 0)


def test_an_old_birth_that_comes_late_gives_up_nothing(server: Server) -> None:
    server.enrol()
    birth = {"boot": 3, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1, 2, 9], [3, 1, 0]]}
    server.measured([minute(1, 5.0)])
    server.says("birth", birth)
    server.says("birth", {**birth, "boot": 2, "conn": 5, "pending": []})
    assert high_water(server) == (1, 9, 0)


def test_a_heartbeat_tells_how_far_the_box_has_written(server: Server) -> None:
    server.enrol()
    server.measured([minute(1, 5.0)])
    server.says("hb", {"boot": 1, "conn": 1, "seq": 4, "buf": 3})
    assert high_water(server) == (1, 4, 0)


def test_a_will_older_than_the_newest_birth_is_ignored(server: Server) -> None:
    server.enrol()
    birth = {"boot": 17, "conn": 5, "channels": 1, "fw": "x", "cfg": "y", "pending": [[17, 1, 0]]}
    server.says("birth", birth)
    server.says("state", {"on": 0, "boot": 17, "conn": 4})
    assert presence(server).online
    server.says("state", {"on": 0, "boot": 16, "conn": 9})
    assert presence(server).online
    server.says("state", {"on": 0, "boot": 17, "conn": 5})
    assert not presence(server).online


def test_what_the_broker_kept_does_not_prove_that_the_box_lives(server: Server) -> None:
    server.enrol()
    birth = {"boot": 1, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1, 1, 0]]}
    server.says("birth", birth, received_at=at(0))
    raw = Arrival(topic=topic("state"), payload=b'{"on":1,"boot":1,"conn":1}', received_at=at(60), retained=True)
    server.receive(raw)
    assert presence(server).heard_at == at(0)
    server.says("hb", {"boot": 1, "conn": 1, "seq": 0, "buf": 0}, received_at=at(61))
    assert presence(server).heard_at == at(61)


def test_a_reboot_in_mid_batch_begins_a_new_sequence(server: Server) -> None:
    server.enrol()
    batch = [minute(seq, 5.0) for seq in (1, 2, 3)] + [minute(seq, 5.0, boot=2) for seq in (1, 2)]
    assert server.measured(batch) == 2
    assert high_water(server, boot=1) == (3, 3, 0)
    assert high_water(server, boot=2) == (2, 2, 0)


def test_a_sequence_restart_within_a_boot_is_kept_whole_for_a_person(server: Server) -> None:
    server.enrol()
    server.measured([minute(1, [5.0] * 60), minute(2, 5.0)])
    server.measured([minute(1, [6.0] * 60)])
    with server.database.transaction() as session:
        letter = session.scalars(select(DeadLetter)).one()
    assert letter.reason == "sequence_reused"
    assert letter.head == arrival(minute(1, [6.0] * 60)).payload
    assert letter.size_bytes == len(letter.head) > 200


def test_two_boxes_with_one_id_overwrite_nothing_of_each_other(server: Server) -> None:
    server.enrol()
    original = [minute(seq, 100.0) for seq in range(1, 6)]
    clone = [minute(seq, 5.0) for seq in range(3, 8)]
    for ours, theirs in zip(original, clone, strict=True):
        server.receive(arrival(ours), arrival(theirs))
    with server.database.reader() as session:
        powers = {message.seq: message.powers_w[0] for message in session.scalars(select(Message))}
    # Who came first stays; of the other's each message that differs is a dead letter.
    assert powers == {1: 100.0, 2: 100.0, 3: 5.0, 4: 5.0, 5: 5.0, 6: 5.0, 7: 5.0}
    assert server.dead_reasons() == ["sequence_reused"] * 3


def test_a_half_open_socket_dies_late_and_takes_nothing_with_it(server: Server) -> None:
    server.enrol()
    birth = {"boot": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1, 1, 0]]}
    server.says("birth", {**birth, "conn": 1}, received_at=at(0))
    server.says("birth", {**birth, "conn": 2}, received_at=at(1))
    # The broker notices minutes later that the first connection is dead.
    server.says("state", {"on": 0, "boot": 1, "conn": 1}, received_at=at(2))
    assert (presence(server).online, presence(server).connection, presence(server).heard_at) == (True, 2, at(1))


def test_after_the_will_no_late_word_of_the_same_connection_brings_a_box_back(server: Server) -> None:
    server.enrol()
    server.says("state", {"on": 1, "boot": 1, "conn": 1}, received_at=at(0))
    server.says("state", {"on": 0, "boot": 1, "conn": 1}, received_at=at(1))
    server.says("hb", {"boot": 1, "conn": 1, "seq": 0, "buf": 0}, received_at=at(2))
    assert not presence(server).online


def test_what_only_the_broker_kept_was_never_heard(server: Server) -> None:
    server.enrol()
    server.receive(
        Arrival(topic=topic("state"), payload=b'{"on":1,"boot":1,"conn":1}', received_at=at(9), retained=True)
    )
    assert presence(server).online
    assert presence(server).heard_at is None


def test_a_storm_of_reconnects_costs_a_handful_of_statements(server: Server) -> None:
    codes = [f"cb-{number:03d}" for number in range(200)]
    for code in codes:
        server.enrol(code, calibration=None)
    birth = {"boot": 1, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1, 1, 0]]}
    storm = [
        Arrival(topic=topic(kind, box=code), payload=payload(content), received_at=START)
        for code in codes
        for kind, content in (("state", {"on": 1, "boot": 1, "conn": 1}), ("birth", birth))
    ]
    statements: list[str] = []
    event.listen(server.database.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    server.receive(*storm)
    assert len(statements) <= 8
    with server.database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Presence).where(Presence.online, Presence.born)) == 200


def test_a_hole_is_told_with_its_ends(server: Server) -> None:
    server.enrol()
    (found,) = server.receive(*(arrival(minute(seq, 5.0)) for seq in (1, 2, 6, 9)))
    assert (found.seq, found.hole, found.born) == (2, (3, 5), False)
    server.says("birth", {"boot": 1, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1, 3, 9]]})
    (found,) = server.receive(*(arrival(minute(seq, 5.0)) for seq in (3, 4, 5)))
    assert (found.seq, found.hole, found.born) == (6, (7, 8), True)


def test_what_came_after_it_was_given_up_is_no_longer_lost(server: Server) -> None:
    server.enrol()
    server.measured([minute(1, 5.0), minute(5, 5.0)])
    server.says("birth", {"boot": 1, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1, 5, 5]]})
    assert high_water(server) == (5, 5, 3)
    server.measured([minute(3, 5.0)])
    assert high_water(server) == (5, 5, 2)


def test_who_goes_on_where_it_ended_is_known_by_its_birth_and_knows_what_its_heartbeat_speaks_of(
    server: Server,
) -> None:
    server.enrol()
    server.says("birth", {"boot": 1, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[1, 1, 0]]})
    server.measured([minute(1, 5.0)])
    (found,) = server.receive(arrival(minute(2, 5.0)), arrival(minute(3, 5.0)))
    assert (found.seq, found.hole, found.born) == (3, None, True)
    beat = Arrival(topic=topic("hb"), payload=payload({"boot": 1, "conn": 1, "seq": 6, "buf": 2}), received_at=at(5))
    (found,) = server.receive(arrival(minute(4, 5.0)), beat)
    assert (found.seq, found.hole) == (4, (5, 6))
    (found,) = server.receive(arrival(minute(5, 5.0)))
    assert (found.seq, found.hole) == (5, (6, 6))


def test_who_goes_on_in_a_boot_that_lost_something_may_not_forget_what_never_came(server: Server) -> None:
    server.enrol()
    server.measured([minute(1, 5.0), minute(3, 5.0)])
    # The newest birth no longer lists boot 1: its number 2 is lost, as far as anybody knows.
    server.says("birth", {"boot": 2, "conn": 1, "channels": 1, "fw": "x", "cfg": "y", "pending": [[2, 1, 0]]})
    assert high_water(server) == (3, 3, 1)
    assert server.measured([minute(4, 5.0)]) == 0
    assert high_water(server) == (4, 4, 1)
