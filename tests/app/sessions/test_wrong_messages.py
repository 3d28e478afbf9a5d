"""Whatever is posted to a terminal's door: a refusal with its code and both languages, never a fault."""

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.db import Database
from app.devices.models import TerminalEvent
from app.sessions.models import CardSession
from card_terminal import protocol
from tests.app import taps
from tests.app.taps import Site, Tap

DOORS = ("enroll", "hello", "config", "card/begin", "session/authorize", "session/extend", "events")
PAYLOADS = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.none(), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
BODIES = (
    st.binary(max_size=60)
    | JSON
    | st.fixed_dictionaries({"message": JSON})
    | st.fixed_dictionaries(
        {"message": st.from_regex(r"[A-Za-z0-9_-]{1,20}\.[A-Za-z0-9_-]{0,20}\.[A-Za-z0-9_-]{0,20}")}
    )
    | st.fixed_dictionaries({"messages": st.lists(JSON, max_size=3)})
)
FIXTURES_SERVE_ALL_EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FIXTURES_SERVE_ALL_EXAMPLES
@given(door=st.sampled_from(DOORS), body=BODIES)
def test_any_body_is_refused_in_both_languages(client: FlaskClient, door: str, body: object) -> None:
    if isinstance(body, bytes):
        answer = client.post(f"/terminal/v1/{door}", data=body, content_type="application/json")
    else:
        answer = client.post(f"/terminal/v1/{door}", json=body)

    assert 400 <= answer.status_code < 500
    refusal = protocol.read_refusal(answer.get_json())
    assert refusal.known_code in (protocol.RefusalCode.MESSAGE_INVALID, protocol.RefusalCode.SIG_INVALID)
    assert refusal.message.zh
    assert refusal.message.en


@pytest.fixture
def tap(site: Site) -> Tap:
    return site.terminal()


@FIXTURES_SERVE_ALL_EXAMPLES
@given(door=st.sampled_from(DOORS), payload=PAYLOADS, body=JSON, kind=st.sampled_from(protocol.MessageType))
def test_a_real_terminal_that_says_nonsense_is_refused_or_parked(
    tap: Tap, door: str, payload: dict[str, Any], body: object, kind: protocol.MessageType
) -> None:
    said = {"message": door, "mid": str(uuid4()), "st": taps.now_ms(), "body": body, **payload}
    if door == "events" and kind is protocol.MessageType.EVENT:
        said = {"seq": tap.seq + 1, "prev": tap.prev, "boot": 1, "mono_ms": 1, "wall_ms": 1, **payload, "body": body}
    try:
        message = protocol.sign(said, key=tap.key, key_id=str(tap.terminal_id), message_type=kind)
    except ValueError:
        return
    content = {"messages": [message]} if door == "events" else {"message": message}

    answer = tap.post(door, content)

    if answer.status_code == 200:
        (result,) = answer.get_json()["results"]
        assert result["status"] == "parked"
        tap.seq, tap.prev = tap.seq + 1, protocol.chain_hash(message)
    else:
        assert 400 <= answer.status_code < 500, answer.get_data(as_text=True)
        assert protocol.read_refusal(answer.get_json()).known_code is not None


@FIXTURES_SERVE_ALL_EXAMPLES
@given(place=st.integers(0, 10_000), other=st.sampled_from("AZaz09_-."))
def test_one_changed_character_of_a_message_undoes_its_signature(tap: Tap, place: int, other: str) -> None:
    message = tap.query(protocol.Config(have_version=0))
    # The last character of a signature carries four bits that mean nothing.
    place %= len(message) - 1
    changed = message[:place] + other + message[place + 1 :]
    assume(changed != message)

    answer = tap.post("config", {"message": changed})

    assert answer.status_code in (400, 401)
    assert answer.get_json()["code"] in ("SIG_INVALID", "MESSAGE_INVALID")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b"1" * 5_000, b'{"message": "\\ud800"}', b"x" * 600_000, b'{"messages": []}'],
    ids=["empty", "cut", "deep", "huge number", "half a character", "too long", "no events"],
)
@pytest.mark.parametrize("door", ["hello", "events", "enroll"])
def test_hostile_bytes_are_refused(client: FlaskClient, door: str, content: bytes) -> None:
    answer = client.post(f"/terminal/v1/{door}", data=content, content_type="application/json")

    assert 400 <= answer.status_code < 500
    assert protocol.read_refusal(answer.get_json()).known_code is not None


def test_nonsense_changes_nothing(site: Site, tap: Tap, database: Database) -> None:
    tap.ask(protocol.SessionAuthorize(token="x" * 20, session_id=uuid4(), minutes=60))
    tap.ask(protocol.SessionExtend(session_id=uuid4(), minutes_total=60))
    site.client.post("/terminal/v1/events", json={"messages": ["a.b.c"]})

    with database.reader() as session:
        assert session.query(CardSession).count() == 0
        assert session.query(TerminalEvent).count() == 0
