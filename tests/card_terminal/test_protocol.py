"""Any JSON is a message or a clear refusal; what one end writes the other reads; nothing signed can be bent."""

import base64
import contextlib
import json
import string
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import assume, given
from hypothesis import strategies as st

from card_terminal import protocol
from card_terminal.protocol import (
    CHAIN_START,
    CardBegin,
    Config,
    EndCause,
    Ended,
    Event,
    EventBody,
    Hello,
    MessageError,
    MessageType,
    Meter,
    ProtocolError,
    Query,
    QueryBody,
    ReaderState,
    RefusalCode,
    SessionAuthorize,
    SessionExtend,
    SignatureError,
    SunCard,
    TypedCard,
)
from card_terminal.protocol.shapes import to_dict
from tests.card_terminal.test_card_crypto import VECTORS

KEY = Ed25519PrivateKey.generate()
NOT_CANONICAL = "no compact JWS in canonical base64url"
BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
SESSION = UUID("01a0c450-6c00-79fd-8b5a-1a84bc47b428")
EVENT = Event(seq=7, prev="ab" * 32, boot=2, mono_ms=5, wall_ms=6, body=Meter(session_id=SESSION, elapsed_ms=60_000))
BODIES: list[QueryBody] = [
    Hello(
        app_version="0.1.0", boot=1, last_seq=2, unsent=0, reader=ReaderState.OK, config_version=3, session_id=SESSION
    ),
    Config(have_version=0),
    CardBegin(card=SunCard(uri="https://card.example/t?e=00&c=11")),
    CardBegin(card=TypedCard(number="4001-0001")),
    SessionAuthorize(token="t" * 43, session_id=SESSION, minutes=60, pin="4711"),
    SessionExtend(session_id=SESSION, minutes_total=120),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_query_is_read_as_it_was_asked_and_is_the_same_bytes_each_time(body: QueryBody) -> None:
    query = Query(mid=uuid4(), st=1_790_000_000_000, body=body)
    message = protocol.sign_query(query, key=KEY, device_id="terminal-1")
    assert protocol.read_header(message).key_id == "terminal-1"
    assert protocol.read_query(message, key=KEY.public_key(), name=body.NAME) == query
    assert protocol.sign_query(query, key=KEY, device_id="terminal-1") == message


def test_a_query_fits_its_own_door_only() -> None:
    query = Query(mid=uuid4(), st=0, body=SessionExtend(session_id=SESSION, minutes_total=5))
    message = protocol.sign_query(query, key=KEY, device_id="terminal-1")
    for name in (protocol.QUERY_NAMES | {"events", "enroll", "nothing"}) - {"session/extend"}:
        with pytest.raises(MessageError):
            protocol.read_query(message, key=KEY.public_key(), name=name)


def test_an_event_is_read_as_it_was_written_and_cannot_pass_for_a_query() -> None:
    message = protocol.sign_event(EVENT, key=KEY, device_id="terminal-1")
    assert protocol.read_event(message, key=KEY.public_key()) == EVENT
    with pytest.raises(SignatureError):
        protocol.read_query(message, key=KEY.public_key(), name="hello")
    assert protocol.chain_hash(message) != CHAIN_START
    assert len(protocol.chain_hash(message)) == len(CHAIN_START)


def test_every_kind_of_event_has_a_shape() -> None:
    assert {body.KIND for body in get_args(EventBody)} == set(protocol.EventKind)


@given(st.data())
def test_a_message_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    message = protocol.sign_event(EVENT, key=KEY, device_id="terminal-1")
    place = data.draw(st.integers(0, len(message) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != message[place]))
    with pytest.raises(ProtocolError):
        protocol.read_event(message[:place] + other + message[place + 1 :], key=KEY.public_key())


@pytest.mark.parametrize("tail", ["=", "==", "\n", " ", "."])
def test_one_signed_message_has_one_spelling(tail: str) -> None:
    message = protocol.sign_event(EVENT, key=KEY, device_id="terminal-1")
    with pytest.raises(SignatureError):
        protocol.read_event(message + tail, key=KEY.public_key())


@given(st.integers(0, 2), st.integers(1, 15), st.integers(0, 200))
def test_spare_bits_make_no_second_spelling(segment: int, bits: int, length: int) -> None:
    payload = {"text": "x" * length}
    message = protocol.sign(payload, key=KEY, key_id="terminal-1" + "x" * (length % 3), message_type=MessageType.EVENT)
    other = with_spare_bits(message, segment=segment, bits=bits)
    assume(other != message)
    assert base64url(other.split(".")[segment]) == base64url(message.split(".")[segment])

    assert protocol.verify(message, key=KEY.public_key(), message_type=MessageType.EVENT) == payload
    for read in (protocol.read_header, verified):
        with pytest.raises(SignatureError) as refused:
            read(other)
        # By its form alone, whatever the library below would say of it.
        assert (refused.value.code, refused.value.detail) == (RefusalCode.SIG_INVALID, NOT_CANONICAL)


def with_spare_bits(message: str, *, segment: int, bits: int) -> str:
    """Spell one segment in another way; what it decodes to is the same, and it is signed as it is then spelled."""
    segments = message.split(".")
    text = segments[segment]
    spare = {2: 0b1111, 3: 0b11}.get(len(text) % 4, 0)
    segments[segment] = text[:-1] + BASE64URL[BASE64URL.index(text[-1]) ^ (bits & spare)]
    if segment < 2:
        signature = KEY.sign(".".join(segments[:2]).encode())
        segments[2] = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    return ".".join(segments)


def base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(message: str) -> dict[str, Any]:
    return protocol.verify(message, key=KEY.public_key(), message_type=MessageType.EVENT)


def test_another_key_or_no_algorithm_is_refused() -> None:
    message = protocol.sign_event(EVENT, key=KEY, device_id="terminal-1")
    with pytest.raises(SignatureError):
        protocol.read_event(message, key=Ed25519PrivateKey.generate().public_key())
    headers = {"kid": "terminal-1", "typ": str(MessageType.EVENT)}
    unsigned = jwt.PyJWS().encode(b"{}", "", algorithm="none", headers=headers)
    hashed = jwt.PyJWS().encode(b"{}", KEY.public_key().public_bytes_raw(), algorithm="HS256", headers=headers)
    for forged in (unsigned, hashed):
        with pytest.raises(SignatureError):
            protocol.read_event(forged, key=KEY.public_key())


@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}\.[A-Za-z0-9_-]{0,80}"))
def test_any_text_is_no_signature(text: str) -> None:
    for read in (protocol.read_header, protocol.read_enrolment):
        with pytest.raises(ProtocolError):
            read(text)
    with pytest.raises(SignatureError):
        protocol.verify(text, key=KEY.public_key(), message_type=MessageType.QUERY)


@pytest.mark.parametrize(
    "payload",
    [b"[]", b"1", b'{"a":1,"a":2}', b'{"a":1.5}', b'{"a":NaN}', b"[" * 9000, b"\xff", b'{"a":' + b"9" * 5000 + b"}"],
)
def test_what_is_signed_must_be_an_object_of_whole_numbers_with_each_name_once(payload: bytes) -> None:
    headers = {"kid": "x", "typ": str(MessageType.QUERY)}
    message = jwt.PyJWS().encode(payload, KEY, algorithm="EdDSA", headers=headers)
    with pytest.raises(MessageError):
        protocol.verify(message, key=KEY.public_key(), message_type=MessageType.QUERY)


READERS: list[Callable[[Any], object]] = [
    protocol.parse_event,
    lambda value: protocol.parse_query(value, name="session/authorize"),
    lambda value: protocol.parse_query(value, name="card/begin"),
]
BODY_READERS: list[Callable[[Any], object]] = [
    protocol.read_message_body,
    protocol.read_events_body,
    protocol.read_events_answer,
    protocol.read_refusal,
    lambda value: protocol.read_answer(protocol.AuthorizeAnswer, value),
    lambda value: protocol.read_answer(protocol.CardBeginAnswer, value),
]


@given(st.dictionaries(st.sampled_from([*"abc", "message", "mid", "st", "body", "seq", "prev", "kind"]), JSON))
def test_any_object_is_a_message_or_a_clear_refusal(value: dict[str, Any]) -> None:
    for read in READERS:
        with pytest.raises(MessageError):
            read(value)


@given(JSON)
def test_any_json_is_a_body_or_a_clear_refusal(value: object) -> None:
    for read in BODY_READERS:
        with contextlib.suppress(MessageError):
            read(value)


def spoiled(body: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    payload = {"message": "session/authorize", "mid": str(uuid4()), "st": 0, "body": {**body, name: value}}
    return json.loads(json.dumps(payload))  # type: ignore[no-any-return]


@given(st.sampled_from([field.name for field in fields(SessionAuthorize)]), JSON)
def test_one_field_of_another_kind_is_named(name: str, value: object) -> None:
    body = to_dict(SessionAuthorize(token="t" * 43, session_id=SESSION, minutes=60, pin="4711"))
    assert isinstance(value, str | int) or value is None or f"body.{name}" in refusal_of(spoiled(body, name, value))


def refusal_of(payload: dict[str, Any]) -> str:
    with pytest.raises(MessageError) as caught:
        protocol.parse_query(payload, name="session/authorize")
    assert caught.value.code is RefusalCode.MESSAGE_INVALID
    return caught.value.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("minutes", 0), ("minutes", True), ("minutes", "60"), ("minutes", 10**9), ("minutes", None), ("pin", "12a4"),
        ("pin", "１２３４"), ("session_id", str(SESSION).upper()), ("session_id", SESSION.hex), ("token", ""),
        ("purse", "subsidy"), ("surprise", 1),
    ],
)  # fmt: skip
def test_wrong_values_and_unknown_fields_are_refused(name: str, value: object) -> None:
    body = to_dict(SessionAuthorize(token="t" * 43, session_id=SESSION, minutes=60))
    with pytest.raises(MessageError):
        protocol.parse_query(spoiled(body, name, value), name="session/authorize")


def test_half_a_character_is_refused() -> None:
    body = {"card": {"class": "typed", "number": "1"}, "purpose": "session"}
    payload = {"message": "\ud800", "mid": str(SESSION), "st": 0, "body": body}
    with pytest.raises(MessageError):
        protocol.parse_query(payload, name="card/begin")


def test_a_terminal_passes_over_what_a_newer_server_adds() -> None:
    answer = protocol.HelloAnswer(server_time=1, acked_seq=2, config_version=3)
    said = {**protocol.accept(answer), "weather": "fine"}
    assert protocol.read_answer(protocol.HelloAnswer, said) == answer


def test_an_enrolment_proves_the_key_that_it_brings() -> None:
    message = protocol.sign_enrolment(code="GOOD-CODE", st=5, app_version="0.1.0", key=KEY)
    enrolment = protocol.read_enrolment(message)
    assert protocol.decode_public_key(enrolment.public_key).public_bytes_raw() == KEY.public_key().public_bytes_raw()
    other = Ed25519PrivateKey.generate()
    payload = {"message": "enroll", **to_dict(enrolment)}
    stolen = protocol.sign(
        payload, key=other, key_id=protocol.fingerprint(KEY.public_key()), message_type=MessageType.ENROLMENT
    )
    with pytest.raises(SignatureError):
        protocol.read_enrolment(stolen)


@given(st.binary(min_size=32, max_size=32))
def test_a_public_key_has_one_spelling(raw: bytes) -> None:
    key = Ed25519PublicKey.from_public_bytes(raw)
    text = protocol.encode_public_key(key)
    assert protocol.decode_public_key(text).public_bytes_raw() == raw
    for wrong in (text + "=", text[:-1], text + "A", ""):
        with pytest.raises(MessageError):
            protocol.decode_public_key(wrong)


def test_a_fingerprint_can_be_read_out() -> None:
    groups = protocol.fingerprint(KEY.public_key()).split("-")
    assert [len(group) for group in groups] == [4] * 8


def test_the_signature_of_rfc_8037() -> None:
    vector = next(vector for vector in VECTORS if vector["group"] == "jws")
    jwk = {"kty": "OKP", "crv": "Ed25519", "d": vector["input"]["d"], "x": vector["input"]["x"]}
    key = jwt.PyJWK(jwk, algorithm="EdDSA").key
    public = protocol.decode_public_key(vector["input"]["x"])
    assert (
        jwt.PyJWS().encode(vector["input"]["payload"].encode(), key, algorithm="EdDSA", headers={"typ": ""})
        == vector["expected"]["jws"]
    )
    assert key.public_key() == public


def test_every_refusal_has_its_own_number_and_speaks_both_languages() -> None:
    refusals = [protocol.refusal(code) for code in RefusalCode]
    assert len({each.number for each in refusals}) == len(refusals)
    for each in refusals:
        assert each.message.zh
        assert each.advice.zh
        assert each.message.en.isascii()
        assert each.advice.en.isascii()
        assert 400 <= each.http_status < 500
        travelled = protocol.read_refusal(protocol.refuse(each.code, server_time=9))
        assert (travelled.known_code, travelled.message.zh, travelled.retry) == (each.code, each.message.zh, each.retry)


def test_a_refusal_newer_than_the_terminal_can_still_be_read() -> None:
    said = {**protocol.refuse(RefusalCode.RETRY, server_time=9), "code": "MOON_IN_WRONG_HOUSE"}
    assert protocol.read_refusal(said).known_code is None


def test_a_signed_configuration_is_believed_and_another_is_not() -> None:
    words = protocol.Words(zh="电镜", en="Microscope")
    config = protocol.TerminalConfig(version=4, instrument=words, unit=words, price=words)
    message = protocol.sign_config(config, key=KEY, key_id="server-1")
    assert protocol.read_config(message, key=KEY.public_key()) == config
    with pytest.raises(SignatureError):
        protocol.read_config(message, key=Ed25519PrivateKey.generate().public_key())


def test_whole_seconds_drop_the_rest() -> None:
    ended = Ended(session_id=SESSION, elapsed_ms=61_999, cause=EndCause.TAPPED)
    assert protocol.whole_seconds(ended.elapsed_ms) == 61
