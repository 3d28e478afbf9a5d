"""The work of a station on one card: ordered by a clerk, done over as many taps as it takes, or cancelled."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from app import crypto_box, errors
from app.cards import keys, making, numbers, patience
from app.cards.keys import KeyRing
from app.cards.making import Aim, Stage, Step, Tap, TapEnded, Trouble
from app.cards.models import (
    Card,
    CardClass,
    CardStatus,
    CardWork,
    KeyReason,
    Station,
    StationStatus,
    WorkPurpose,
    WorkStatus,
)
from app.cards.wording import STAGE_PERCENT, stage_words, trouble_words
from app.people import service as people
from app.settings import Settings
from card_terminal.crypto.keys import KeySlot
from card_terminal.protocol import ProtocolError, RefusalCode, StationAnswer, StationBegin, StationStep, TapState, Words
from card_terminal.protocol.shapes import parse, to_dict

OPEN = (WorkStatus.WAITING, WorkStatus.RUNNING)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """What one message is worked on with."""

    session: Session
    work: CardWork
    settings: Settings
    at: datetime
    uid: bytes = b""
    """Of the chip in the field, as the reader saw it."""

    @property
    def aim(self) -> Aim:
        """What the chip is to become."""
        return Aim(key_version=self.work.key_version or 0, base_uri=card_address(self.settings))

    def key_of(self, slot: KeySlot, version: int) -> bytes:
        """Give the key that the chip has in a slot under a version; 0 is what the maker leaves."""
        if version == 0:
            return keys.FACTORY_KEY
        ring = KeyRing(
            session=self.session,
            key_encryption_key=self.settings.key_encryption_key,
            actor=f"station:{self.work.station.code}",
            reason=KeyReason.PERSONALISE,
            at=self.at,
        )
        found = ring.card_key(slot, uid=self.uid, key_version=version)
        if found is None:
            raise TapEnded(Trouble.KEYS_UNKNOWN, f"slot {slot:d} has version {version}")
        return found


def card_address(settings: Settings) -> str:
    """Give the address that cards show to phones."""
    return f"{settings.public_url.rstrip('/')}/c"


def order(
    session: Session,
    *,
    card_id: int,
    station_id: UUID,
    purpose: WorkPurpose,
    expires_on: date,
    actor: str,
    at: datetime,
) -> CardWork:
    """Let a station make a card, or renew one. The next chip put on it is this card's.

    Raises Refusal: NOT_FOUND, CARD_STATE_WRONG, CARD_BEING_MADE, STATION_BUSY.
    """
    # In the order in which a station's messages lock them.
    station = session.get(Station, station_id, with_for_update={"key_share": True})
    card = session.get(Card, card_id, with_for_update={"key_share": True}, populate_existing=True)
    if card is None or station is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    if card.card_class is not CardClass.EV2 or not _fits(card, purpose):
        raise errors.Refusal(errors.Code.CARD_STATE_WRONG)
    if open_work_of(session, card_id=card_id) is not None:
        raise errors.Refusal(errors.Code.CARD_BEING_MADE)
    if station.status is not StationStatus.ENROLLED:
        raise errors.Refusal(errors.Code.STATION_BUSY)
    made = session.scalar(
        insert(CardWork)
        .values(
            id=uuid4(),
            card_id=card_id,
            station_id=station_id,
            purpose=purpose,
            status=WorkStatus.WAITING,
            expires_on=expires_on,
            uid=card.uid,
            created_by=actor,
            created_at=at,
            changed_at=at,
        )
        .on_conflict_do_nothing()
        .returning(CardWork.id)
    )
    if made is None:
        raise errors.Refusal(errors.Code.STATION_BUSY)
    _audit(session, card, action=f"card.{purpose}_ordered", actor=actor, at=at, detail={"station": station.code})
    return session.get_one(CardWork, made)


def _fits(card: Card, purpose: WorkPurpose) -> bool:
    """Issue a card that has no chip yet; renew one that has, also after a renewal that was cancelled half way."""
    if purpose is WorkPurpose.ISSUE:
        return card.status is CardStatus.PREPARING and card.uid is None
    return card.uid is not None and card.status in (CardStatus.ISSUED, CardStatus.PREPARING)


def cancel(session: Session, *, work_id: UUID, actor: str, at: datetime) -> CardWork:
    """Stop a work. A new card lets go of its chip, which any later work may take up, with fresh keys.

    Raises Refusal: NOT_FOUND, ALREADY_DECIDED.
    """
    work = _locked(session, work_id)
    if work.status not in OPEN:
        raise errors.Refusal(errors.Code.ALREADY_DECIDED)
    _close(work, WorkStatus.CANCELLED, at=at)
    if work.purpose is WorkPurpose.ISSUE:
        work.card.uid = None
    _audit(session, work.card, action="card.work_cancelled", actor=actor, at=at, detail={"stage": work.stage})
    return work


def open_work_of(session: Session, *, card_id: int) -> CardWork | None:
    """Give the work that goes on with a card, or None."""
    return session.scalar(
        select(CardWork)
        .where(CardWork.card_id == card_id, CardWork.status.in_(OPEN))
        .options(joinedload(CardWork.station))
    )


def works_of(session: Session, *, card_id: int, limit: int = 50) -> list[CardWork]:
    """Give what stations did with a card, the newest first."""
    query = select(CardWork).where(CardWork.card_id == card_id).options(joinedload(CardWork.station))
    return list(session.scalars(query.order_by(CardWork.created_at.desc()).limit(limit)))


def open_works(session: Session) -> list[CardWork]:
    """Give what the stations have in hand."""
    query = select(CardWork).where(CardWork.status.in_(OPEN)).options(joinedload(CardWork.station))
    return list(session.scalars(query.options(joinedload(CardWork.card)).order_by(CardWork.created_at)))


def begin_tap(
    session: Session, *, station: Station, said: StationBegin, message: str, settings: Settings, at: datetime
) -> StationAnswer:
    """Answer a chip that was put on a station with what to ask it first. Raises ProtocolError STATION_IDLE."""
    work = _work_at(session, station)
    again = _again(work, message)
    if again is not None:
        return again
    hand = Hand(session=session, work=work, settings=settings, at=at)
    work.exchange_id, work.exchange_step, work.taps = uuid4(), 0, work.taps + 1
    work.status = WorkStatus.RUNNING
    return _answered(hand, message, lambda: making.begin(bytes.fromhex(said.uid)))


def continue_tap(
    session: Session, *, station: Station, said: StationStep, message: str, settings: Settings, at: datetime
) -> StationAnswer:
    """Read a chip's answers, and give what comes next. Raises ProtocolError: STATION_IDLE, RETRY for another tap's."""
    work = _work_at(session, station, exchange_id=said.exchange_id)
    again = _again(work, message)
    if again is not None:
        return again
    if said.exchange_id != work.exchange_id or said.step != work.exchange_step or work.exchange_state is None:
        raise ProtocolError(RefusalCode.STATION_IDLE, "another tap has begun since")
    tap = _remembered(work, settings)
    hand = Hand(session=session, work=work, settings=settings, at=at, uid=tap.uid)
    answers = tuple(bytes.fromhex(each) for each in said.answers)

    def next_step() -> Step:
        if said.gone:
            raise TapEnded(Trouble.GONE, f"after {len(answers)} answers")
        return _next(hand, tap, answers)

    return _answered(hand, message, next_step)


def _next(hand: Hand, tap: Tap, answers: making.Answers) -> Step:
    if tap.stage is Stage.VERSIONS:
        known = making.read_versions(tap, answers)
        _claim_chip(hand, known)
        _spend_attempt(hand, known.uid)
        return making.ask_challenge(known)
    if tap.stage is Stage.UID:
        proven = making.read_uid(tap, answers)
        _write_row_first(hand, proven)
        return making.write(proven, aim=hand.aim, key_of=hand.key_of)
    step = making.go_on(tap, answers, aim=hand.aim, key_of=hand.key_of)
    if step.tap.stage is Stage.NEW_CHALLENGE:
        _spend_attempt(hand, tap.uid)
    if tap.stage in (Stage.AUTHENTICATED, Stage.NEW_KEY):
        patience.proved(hand.session, uid=tap.uid)
    if step.tap.stage is Stage.DONE:
        _finish(hand, step)
    return step


def _claim_chip(hand: Hand, tap: Tap) -> None:
    """See that this chip may become this card; nothing is written yet, for its UID is not proved."""
    session, work = hand.session, hand.work
    if work.uid is not None:
        if work.uid != tap.uid:
            raise TapEnded(Trouble.OTHER_CHIP, "the work has begun with another chip")
    elif session.scalar(select(Card.id).where(Card.uid == tap.uid, Card.id != work.card_id)) is not None:
        raise TapEnded(Trouble.CHIP_TAKEN, "another card has this chip")
    ours = {0, *keys.key_versions_of(session, tap.uid)}
    if not set(tap.key_versions) <= ours:
        raise TapEnded(Trouble.KEYS_UNKNOWN, f"versions {tap.key_versions}")


def _write_row_first(hand: Hand, tap: Tap) -> None:
    """Promise the chip its keys in the database before the first byte is written to it (terminal.md, order)."""
    session, work, card = hand.session, hand.work, hand.work.card
    if work.key_version is None:
        work.key_version = keys.assign(
            session, uid=tap.uid, key_encryption_key=hand.settings.key_encryption_key, at=hand.at
        )
    work.uid = card.uid = tap.uid
    # From here on the chip may have keys of two versions: nothing begins with it before it is done.
    card.status, card.status_at = CardStatus.PREPARING, hand.at
    session.flush()


def _spend_attempt(hand: Hand, uid: bytes) -> None:
    try:
        patience.spend(hand.session, uid=uid, at=hand.at)
    except patience.ImpatientError as error:
        raise TapEnded(Trouble.PATIENCE, str(error)) from error


def _finish(hand: Hand, step: Step) -> None:
    work, card = hand.work, hand.work.card
    card.key_version = work.key_version or card.key_version
    card.read_counter = step.counter
    card.expires_on = work.expires_on
    card.status, card.status_at = CardStatus.ISSUED, hand.at
    card.issued_at = hand.at
    _audit(
        hand.session,
        card,
        action=f"card.{work.purpose}_done",
        actor=f"station:{work.station.code}",
        at=hand.at,
        detail={"ordered_by": work.created_by, "taps": work.taps, "key_version": card.key_version},
    )


def _answered(hand: Hand, message: str, next_step: Callable[[], Step]) -> StationAnswer:
    """Take one step, keep what must be remembered, and say how it went; a tap that ended leaves the work open."""
    work = hand.work
    try:
        step = next_step()
    except TapEnded as ended:
        log.info("tap_ended", work=str(work.id), stage=work.stage, trouble=str(ended.trouble), detail=str(ended)[:200])
        work.trouble = ended.trouble.value
        work.exchange_state = None
        return _said(hand, message, state=TapState.ENDED, apdus=(), words=trouble_words(ended.trouble))
    done = step.tap.stage is Stage.DONE
    work.stage, work.trouble = step.tap.stage.value, ""
    work.exchange_step += 1
    if done:
        _close(work, WorkStatus.DONE, at=hand.at)
        return _said(hand, message, state=TapState.DONE, apdus=(), words=stage_words(step.tap.stage))
    work.exchange_state = _wrapped(hand, step.tap)
    return _said(hand, message, state=TapState.GO_ON, apdus=step.apdus, words=stage_words(step.tap.stage))


def _said(hand: Hand, message: str, *, state: TapState, apdus: tuple[bytes, ...], words: Words) -> StationAnswer:
    work = hand.work
    answer = StationAnswer(
        exchange_id=work.exchange_id or work.id,
        step=work.exchange_step,
        state=state,
        apdus=tuple(each.hex().upper() for each in apdus),
        text_zh=words.zh,
        text_en=words.en,
        server_time=int(hand.at.timestamp() * 1000),
        percent=STAGE_PERCENT.get(work.stage, 0),
    )
    work.last_message, work.last_answer = _hash(message), to_dict(answer)
    work.changed_at = hand.at
    return answer


def _again(work: CardWork, message: str) -> StationAnswer | None:
    """Give the stored answer to the very same message: its answer was lost on the way."""
    if work.last_message != _hash(message):
        return None
    return parse(StationAnswer, work.last_answer, where="answer")


def _close(work: CardWork, status: WorkStatus, *, at: datetime) -> None:
    work.status, work.exchange_state, work.changed_at = status, None, at


def _wrapped(hand: Hand, tap: Tap) -> bytes:
    plain = json.dumps(tap.to_json()).encode()
    return crypto_box.wrap(plain, key=hand.settings.key_encryption_key, purpose=_purpose(hand.work))


def _remembered(work: CardWork, settings: Settings) -> Tap:
    plain = crypto_box.unwrap(work.exchange_state or b"", key=settings.key_encryption_key, purpose=_purpose(work))
    return Tap.from_json(json.loads(plain))


def _purpose(work: CardWork) -> str:
    return f"tap {work.exchange_id}"


def _work_at(session: Session, station: Station, *, exchange_id: UUID | None = None) -> CardWork:
    """Give the work that this station has in hand; a tap that has just ended it may still ask for its last answer."""
    chosen = CardWork.status.in_(OPEN) if exchange_id is None else (CardWork.exchange_id == exchange_id)
    work = session.scalar(
        select(CardWork)
        .where(CardWork.station_id == station.id, chosen)
        .options(joinedload(CardWork.card), joinedload(CardWork.station))
        .with_for_update(key_share=True, of=CardWork)
        .execution_options(populate_existing=True)
    )
    if work is None:
        raise ProtocolError(RefusalCode.STATION_IDLE, station.code)
    return work


def _locked(session: Session, work_id: UUID) -> CardWork:
    work = session.get(CardWork, work_id, with_for_update={"key_share": True}, populate_existing=True)
    if work is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return work


def _hash(message: str) -> str:
    return hashlib.sha256(message.encode()).hexdigest()


def _audit(
    session: Session, card: Card, *, action: str, actor: str, at: datetime, detail: dict[str, Any] | None = None
) -> None:
    people.audit(
        session,
        actor=actor,
        action=action,
        subject=f"card:{numbers.masked_number(card.face_number)}",
        detail={"card_id": card.id, **(detail or {})},
        at=at,
    )
