"""The embedded broker lets in who has a password, as nobody else, and only to its own topics."""

import queue

import pytest
from amqtt.contexts import Action

from telemetry.broker import Role, may
from telemetry.messages import shard_of
from tests.telemetry.network import Hand, Running
from tests.telemetry.wire import BOX, minute, topic

OWN = f"cb/v1/{shard_of(BOX):02d}/{BOX}"


@pytest.mark.parametrize(
    ("action", "where", "role", "allowed"),
    [
        (Action.PUBLISH, f"{OWN}/m", Role.BOX, True),
        (Action.PUBLISH, f"{OWN}/state", Role.BOX, True),
        (Action.PUBLISH, f"{OWN}/ack", Role.BOX, False),
        (Action.PUBLISH, topic("m", box="cb-002"), Role.BOX, False),
        (Action.PUBLISH, f"cb/v1/63/{BOX}/m", Role.BOX, False),
        (Action.PUBLISH, "other/m", Role.BOX, False),
        (Action.PUBLISH, f"{OWN}/m/more", Role.BOX, False),
        (Action.SUBSCRIBE, f"{OWN}/ack", Role.BOX, True),
        (Action.SUBSCRIBE, f"{OWN}/cmd", Role.BOX, True),
        (Action.SUBSCRIBE, f"{OWN}/m", Role.BOX, False),
        (Action.SUBSCRIBE, "cb/v1/+/+/ack", Role.BOX, False),
        (Action.SUBSCRIBE, "#", Role.BOX, False),
        (Action.SUBSCRIBE, f"{OWN}/#", Role.BOX, False),
        (Action.RECEIVE, topic("ack", box="cb-002"), Role.BOX, False),
        (Action.SUBSCRIBE, "cb/v1/+/+/m", Role.INGEST, True),
        (Action.SUBSCRIBE, "cb/v1/07/+/state", Role.INGEST, True),
        (Action.SUBSCRIBE, "$SYS/broker/version", Role.INGEST, False),
        (Action.PUBLISH, f"{OWN}/ack", Role.INGEST, True),
        (Action.PUBLISH, f"{OWN}/m", Role.INGEST, False),
    ],
)
def test_who_may_do_what(action: Action, where: str, role: Role, allowed: bool) -> None:  # noqa: FBT001
    assert may(action, topic=where, name=BOX if role is Role.BOX else "ingest", role=role) is allowed


def test_without_the_password_nobody_comes_in(embedded_broker: Running) -> None:
    for hand in (
        Hand(embedded_broker.port, password="wrong"),
        Hand(embedded_broker.port, name="cb-999"),
        Hand(embedded_broker.port, client_id="ingest"),
        Hand(embedded_broker.port, name="ingest", client_id=BOX),
    ):
        assert not hand.connect()
        hand.close()


def test_a_box_cannot_leave_a_will_on_another_topic(embedded_broker: Running) -> None:
    hand = Hand(embedded_broker.port)
    hand.client.will_set(topic("state", box="cb-002"), b'{"on":0,"boot":99,"conn":99}')
    assert not hand.connect()
    hand.close()


def test_what_a_box_publishes_elsewhere_reaches_nobody(embedded_broker: Running) -> None:
    ingest, box = Hand(embedded_broker.port, name="ingest"), Hand(embedded_broker.port)
    assert ingest.connect()
    assert box.connect()
    assert ingest.listen("cb/v1/+/+/m")
    assert not box.listen("cb/v1/+/+/m")
    box.send("m", minute(1, 5.0), box="cb-002")
    box.send("m", minute(2, 5.0))
    assert ingest.received.get(timeout=10)[0] == topic("m")
    with pytest.raises(queue.Empty):
        ingest.received.get(timeout=0.2)
    ingest.close()
    box.close()


def test_a_box_that_comes_back_gets_its_own_retained_messages_only(embedded_broker: Running) -> None:
    ingest = Hand(embedded_broker.port, name="ingest")
    assert ingest.connect()
    assert ingest.listen("cb/v1/+/+/m")
    for code in (BOX, "cb-002"):
        ingest.send("ack", b'{"boot":1,"seq":5}', box=code, retain=True)
    other = Hand(embedded_broker.port, name="cb-002")
    assert other.connect()
    assert other.listen(topic("ack", box="cb-002"))
    box = Hand(embedded_broker.port)
    assert box.connect()
    assert box.listen(topic("ack"))
    assert box.received.get(timeout=10)[0] == topic("ack")
    with pytest.raises(queue.Empty):
        box.received.get(timeout=0.3)
    for hand in (ingest, other, box):
        hand.close()
