"""The terminal itself: taps, choices and time go in, one at a time; the journal, the server and the screen follow.

Everything here runs in one thread. The order of lines within a step is the safety of the money: first the journal, then
the server, then the screen, and what is asked of the server can always be asked again or reversed.
"""

import hashlib
import hmac
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from card_terminal.client import DEADLINE_S, Answered, Client, NoAnswer, Outcome, Prepared, Refused
from card_terminal.clock import Clock
from card_terminal.configuration import Configuration
from card_terminal.delivery import Delivery
from card_terminal.flow import FlowError, Signal, State, after, allows
from card_terminal.identifiers import time_ordered_id
from card_terminal.journal import Journal
from card_terminal.offline import desk
from card_terminal.offline.rules import Allowed
from card_terminal.presenting import present
from card_terminal.protocol import (
    METER_INTERVAL_MS,
    Action,
    AuthorizeAnswer,
    CardBeginAnswer,
    ClockStep,
    EndCause,
    ExtendAnswer,
    ReaderDown,
    ReaderState,
    ReaderUp,
    RefusalAnswer,
    RefusalCode,
    ReversalReason,
    SessionAuthorize,
    SessionExtend,
)
from card_terminal.readers import Reading
from card_terminal.readers.apdu import CardGoneError
from card_terminal.screen import Candidate, Notice, Receipt, Screen, local_notice, server_notice
from card_terminal.session import PendingAuthorization, RunningSession

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things take, by the terminal's own clock."""

    debounce_ms: int = 5_000
    lying_ms: int = 800
    confirm_ms: int = 3_000
    pin_ms: int = 45_000
    passing_ms: int = 8_000
    deciding_ms: int = 20_000
    receipt_ms: int = 12_000
    extend_again_ms: int = 60_000
    retry_young_ms: int = 30_000
    pulse_ms: int = 10_000
    clock_step_ms: int = 2_000


class Terminal:
    """One instrument's terminal, enrolled. Not thread-safe but for `screen`."""

    def __init__(
        self,
        *,
        clock: Clock,
        journal: Journal,
        client: Client,
        delivery: Delivery,
        configuration: Configuration,
        mark_key: bytes,
        timing: Timing | None = None,
        offline: desk.OfflineDesk | None = None,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._client = client
        self._delivery = delivery
        self._configuration = configuration
        self._mark_key = mark_key
        self._offline = offline
        self._timing = timing or Timing()
        self._last_reading: tuple[str, int] = ("", 0)
        self._last_tap: tuple[str, int] = ("", 0)
        self._next_meter_ms = self._next_pulse_ms = self._next_extend_ms = 0
        self._wall_over_mono_ms = clock.wall_ms() - clock.mono_ms()
        self._no_more: Notice | None = None
        self.screen = Screen(since_mono_ms=clock.mono_ms())
        self._resume()

    # After a start

    def _resume(self) -> None:
        """Show what a kill, a crash or a power cut left open, and never for a moment that nobody is here."""
        session = self._journal.session()
        if session is not None:
            self._go(Signal.RESUMED, session=session)
            self._next_meter_ms = self._clock.mono_ms() + METER_INTERVAL_MS
        elif self._journal.pending() is not None:
            self._go(Signal.UNCERTAIN)

    def recover(self) -> None:
        """Find out what became of a question whose answer was not heard; to be called once, before anything else."""
        pending = self._journal.pending()
        if pending is not None and self.screen.session is None:
            self._ask_again(pending)

    def _ask_again(self, pending: PendingAuthorization) -> None:
        age_ms = self._clock.mono_ms() - pending.asked_at_mono_ms
        young = pending.boot == self._journal.boot and 0 <= age_ms <= self._timing.retry_young_ms
        if pending.message is None or not young:
            self._reverse(pending.session_id, reason=ReversalReason.RESTARTED)
            return
        prepared = Prepared(name=SessionAuthorize.NAME, mid=pending.mid, message=pending.message)
        outcome = self._client.send(prepared, AuthorizeAnswer, uncertain=True)
        self._conclude(pending, outcome)

    # What people do

    def tap(self, reading: Reading) -> None:
        """A card was held to the reader."""
        mark = hmac.digest(self._mark_key, reading.identity.encode(), hashlib.sha256).hex()
        if self._is_bounce(mark):
            return
        if self.screen.session is not None:
            self._tap_while_running(reading, mark=mark, session=self.screen.session)
        elif allows(self.screen.state, Signal.TAPPED):
            self._begin(reading, mark=mark)

    def _is_bounce(self, mark: str) -> bool:
        """A second tap counts after five seconds, and from a card that lies on the reader never."""
        now_ms = self._clock.mono_ms()
        lies_there = mark == self._last_reading[0] and now_ms - self._last_reading[1] < self._timing.lying_ms
        self._last_reading = (mark, now_ms)
        if lies_there or (mark == self._last_tap[0] and now_ms - self._last_tap[1] < self._timing.debounce_ms):
            return True
        self._last_tap = (mark, now_ms)
        return False

    def _begin(self, reading: Reading, *, mark: str) -> None:
        self._go(Signal.TAPPED)
        # An end that the server has not heard of would make this instrument look busy.
        owes_nothing = self._delivery.deliver(within_s=DEADLINE_S)
        self._go(Signal.READ)
        if not owes_nothing and not self._delivery.is_online:
            self._meet_alone(reading, mark=mark)
            return
        try:
            outcome = present(self._client, reading)
        except CardGoneError:
            # Who was too quick may try again at once: that is no second tap.
            self._last_reading = self._last_tap = ("", 0)
            self._refuse(local_notice(RefusalCode.CARD_GONE))
            return
        if isinstance(outcome, Answered):
            self._meet(outcome.answer, reading, mark=mark)
        elif isinstance(outcome, Refused):
            self._refuse_outcome(outcome)
        else:
            self._meet_alone(reading, mark=mark)

    def _meet_alone(self, reading: Reading, *, mark: str) -> None:
        """The server gives no answer: the offline list decides, if there is one."""
        decision = self._offline.meet(reading) if self._offline else RefusalCode.OFFLINE_NO_LIST
        if isinstance(decision, RefusalCode):
            self._refuse(local_notice(decision))
            return
        candidate = Candidate(
            answer=desk.answer_of(decision),
            card_mark=mark,
            session_id=time_ordered_id(self._clock.wall_ms()),
            minutes=decision.grant.minutes,
            offline=decision,
        )
        self._go(Signal.KNOWN, candidate=candidate, lasts_ms=self._timing.confirm_ms)

    def _meet(self, answer: CardBeginAnswer, reading: Reading, *, mark: str) -> None:
        if Action.START not in answer.actions:
            self._refuse(local_notice(RefusalCode.INSTRUMENT_BUSY))
            return
        self._greet(self._candidate(answer, reading, mark=mark))

    def _candidate(self, answer: CardBeginAnswer, reading: Reading, *, mark: str) -> Candidate:
        wanted = reading.minutes or self._configuration.current.minutes_default
        return Candidate(
            answer=answer,
            card_mark=mark,
            session_id=time_ordered_id(self._clock.wall_ms()),
            minutes=max(1, min(wanted, answer.minutes_max)) if answer.minutes_max is not None else wanted,
            pin=reading.pin if answer.pin_required else None,
        )

    def _greet(self, candidate: Candidate) -> None:
        if candidate.answer.pin_required:
            self._go(Signal.PIN_NEEDED, candidate=candidate, lasts_ms=self._timing.pin_ms)
            if candidate.pin is not None:
                self.enter_pin(candidate.pin)
        else:
            self._go(Signal.KNOWN, candidate=candidate, lasts_ms=self._timing.confirm_ms)

    def enter_pin(self, pin: str) -> None:
        """The person has typed her PIN."""
        if self.screen.candidate is not None and allows(self.screen.state, Signal.PIN_ENTERED):
            candidate = replace(self.screen.candidate, pin=pin)
            self._go(Signal.PIN_ENTERED, candidate=candidate, lasts_ms=self._timing.confirm_ms)

    def confirm(self) -> None:
        """The person does not want to wait for the countdown."""
        if self.screen.state is State.CONFIRM:
            self._authorize()
        elif self.screen.state is State.ENDING:
            self._finish(cause=EndCause.TAPPED)
        elif self.screen.state is State.TAKING_OVER:
            self._hand_over()

    def call_staff(self) -> None:
        """The person wants to know whom to call."""
        if allows(self.screen.state, Signal.CALLED):
            self._go(Signal.CALLED, session=self.screen.session, lasts_ms=self._timing.deciding_ms)

    def take_over(self) -> None:
        """The person wants to end another's session for her own; she is asked once more."""
        if self.screen.candidate is not None and allows(self.screen.state, Signal.TAKE_OVER):
            session, candidate = self.screen.session, self.screen.candidate
            self._go(Signal.TAKE_OVER, session=session, candidate=candidate, lasts_ms=self._timing.deciding_ms)

    def back(self) -> None:
        """The person has changed her mind; nothing was asked of money yet, or the session simply goes on."""
        if allows(self.screen.state, Signal.BACK):
            self._go(Signal.BACK, session=self.screen.session)

    # Start

    def _authorize(self) -> None:
        candidate = self.screen.candidate
        if candidate is None:
            raise FlowError("nobody to authorize")
        self._go(Signal.CONFIRMED, candidate=candidate)
        if candidate.offline is not None:
            self._start_alone(candidate, candidate.offline)
            return
        pending = PendingAuthorization(
            session_id=candidate.session_id,
            mid=candidate.session_id,
            message=None,
            boot=self._journal.boot,
            asked_at_mono_ms=self._clock.mono_ms(),
            minutes=candidate.minutes,
            card=candidate.answer.card,
            card_mark=candidate.card_mark,
            name_masked=candidate.answer.name_masked,
        )

        def remember(prepared: Prepared) -> None:
            # A PIN is never kept, so a question that holds one is kept as its ids: enough to reverse it.
            message = prepared.message if candidate.pin is None else None
            self._journal.remember(replace(pending, mid=prepared.mid, message=message))

        body = SessionAuthorize(
            token=candidate.answer.token,
            session_id=candidate.session_id,
            minutes=candidate.minutes,
            pin=candidate.pin,
        )
        self._conclude(pending, self._client.ask(body, AuthorizeAnswer, before_send=remember))

    def _conclude(self, pending: PendingAuthorization, outcome: Outcome[AuthorizeAnswer]) -> None:
        if isinstance(outcome, Answered) and outcome.answer.session_id == pending.session_id:
            self._start(pending, outcome.answer)
        elif isinstance(outcome, Refused) and outcome.certain:
            if outcome.code is RefusalCode.PIN_WRONG and self.screen.candidate is not None:
                self._ask_pin_again(self.screen.candidate, outcome.refusal)
            else:
                self._refuse_outcome(outcome)
        else:
            self._reverse(pending.session_id, reason=ReversalReason.NO_ANSWER)

    def _ask_pin_again(self, candidate: Candidate, refusal: RefusalAnswer) -> None:
        self._journal.refuse(RefusalCode.PIN_WRONG)
        again = replace(candidate, pin=None, session_id=time_ordered_id(self._clock.wall_ms()))
        self._go(Signal.PIN_NEEDED, candidate=again, notice=server_notice(refusal), lasts_ms=self._timing.pin_ms)

    def _start(self, pending: PendingAuthorization, answer: AuthorizeAnswer) -> None:
        session = RunningSession(
            session_id=pending.session_id,
            card=pending.card,
            card_mark=pending.card_mark,
            name_masked=pending.name_masked,
            minutes_asked=pending.minutes,
            minutes_total=answer.minutes,
            held_fen=answer.held_fen,
            available_fen=answer.available_fen,
            latest_end_ms=answer.latest_end_ms,
            tariff=answer.tariff,
            boot=self._journal.boot,
            since_mono_ms=self._clock.mono_ms(),
        )
        self._run(session)

    def _start_alone(self, candidate: Candidate, allowed: Allowed) -> None:
        # Once more: the list may have ended while the person read the screen.
        decision = self._offline.confirm(allowed) if self._offline else RefusalCode.OFFLINE_NO_LIST
        if isinstance(decision, RefusalCode):
            self._refuse(local_notice(decision))
            return
        self._run(
            desk.session_of(
                decision,
                session_id=candidate.session_id,
                card_mark=candidate.card_mark,
                boot=self._journal.boot,
                since_mono_ms=self._clock.mono_ms(),
            )
        )

    def _run(self, session: RunningSession) -> None:
        self._journal.start(session)
        self._next_meter_ms = session.since_mono_ms + METER_INTERVAL_MS
        self._next_extend_ms, self._no_more = 0, None
        # The five seconds count from the moment when the person sees that she has started.
        self._last_tap = (session.card_mark, session.since_mono_ms)
        self._go(Signal.GRANTED, session=session)

    def _reverse(self, session_id: UUID, *, reason: ReversalReason) -> None:
        self._journal.reverse(session_id, reason=reason)
        self._go(Signal.NO_ANSWER, notice=local_notice(RefusalCode.RETRY), lasts_ms=self._timing.passing_ms)

    def _refuse_outcome(self, outcome: Refused | NoAnswer) -> None:
        if isinstance(outcome, Refused):
            self._refuse(server_notice(outcome.refusal))
        else:
            self._refuse(local_notice(RefusalCode.OFFLINE_NO_LIST))

    def _refuse(self, notice: Notice) -> None:
        self._journal.refuse(notice.code)
        self._go(Signal.REFUSED, notice=notice, lasts_ms=self._timing.passing_ms)

    # While it runs

    def _tap_while_running(self, reading: Reading, *, mark: str, session: RunningSession) -> None:
        if hmac.compare_digest(mark, session.card_mark):
            self._end_by_card(session)
            return
        if not allows(self.screen.state, Signal.OTHER_CARD):
            return
        # Another card, or the same one under a changing UID: only the server can tell, and it need not be there.
        notice = local_notice(RefusalCode.INSTRUMENT_BUSY)
        try:
            outcome = present(self._client, reading)
        except CardGoneError:
            outcome, notice = NoAnswer(), local_notice(RefusalCode.CARD_GONE)
            self._last_reading = self._last_tap = ("", 0)
        if isinstance(outcome, Answered) and outcome.answer.session_id == session.session_id:
            self._end_by_card(session)
        else:
            candidate = None
            if isinstance(outcome, Refused):
                notice = server_notice(outcome.refusal)
            elif isinstance(outcome, Answered) and Action.TAKE_OVER in outcome.answer.actions:
                candidate = self._candidate(outcome.answer, reading, mark=mark)
            lasts_ms = self._timing.deciding_ms
            self._go(Signal.OTHER_CARD, session=session, candidate=candidate, notice=notice, lasts_ms=lasts_ms)

    def _end_by_card(self, session: RunningSession) -> None:
        if allows(self.screen.state, Signal.OWN_CARD):
            self._go(Signal.OWN_CARD, session=session, lasts_ms=self._timing.confirm_ms)

    def _hand_over(self) -> None:
        """End the session that runs, charged up to now, and go on with the card that takes over."""
        candidate = self.screen.candidate
        if candidate is None:
            raise FlowError("nobody takes over")
        self._finish(cause=EndCause.TAKEN_OVER, then=candidate)

    def _finish(self, *, cause: EndCause, then: Candidate | None = None) -> None:
        session = self.screen.session
        if session is None:
            raise FlowError("no session to end")
        # A person pays until she taps, not until the countdown is over.
        at_ms = self.screen.since_mono_ms if self.screen.state is State.ENDING else self._clock.mono_ms()
        ended = self._journal.end(session, at_mono_ms=at_ms, cause=cause)
        # Only a server that has heard of the end can grant a start at the same instrument.
        if self._delivery.deliver(within_s=DEADLINE_S) and then is not None:
            self._greet(then)
            return
        receipt = Receipt(
            session_id=session.session_id,
            card=session.card,
            name_masked=session.name_masked,
            elapsed_ms=ended.elapsed_ms,
            lower_bound=ended.lower_bound,
            by_limit=cause is EndCause.LIMIT,
            estimate_fen=session.cost_fen(at_ms),
        )
        self._go(Signal.ENDED, receipt=receipt, lasts_ms=self._timing.receipt_ms)

    def reader_changed(self, state: ReaderState, *, detail: str) -> None:
        """The reader stopped answering, or answers again."""
        self._journal.record((ReaderUp if state is ReaderState.OK else ReaderDown)(detail=detail[:200]))

    def close_from_server(self, session_id: UUID) -> None:
        """The server says that this session is over: staff ended it, or it was given up as forgotten."""
        session = self.screen.session
        if session is not None and session.session_id == session_id:
            self._finish(cause=EndCause.SERVER)

    # Time

    def tick(self) -> None:
        """Do what the time asks for; to be called at least every second of the terminal's clock."""
        now_ms = self._clock.mono_ms()
        self._watch_wall(now_ms)
        if now_ms >= self._next_pulse_ms:
            self._journal.pulse()
            self._next_pulse_ms = now_ms + self._timing.pulse_ms
        if self.screen.session is not None:
            self._tend(self.screen.session, now_ms=now_ms)
        elif self.screen.state is State.IDLE:
            self._configuration.apply()
        if self.screen.until_mono_ms is not None and self._clock.mono_ms() >= self.screen.until_mono_ms:
            self._time_out()

    def _watch_wall(self, now_ms: int) -> None:
        over_ms = self._clock.wall_ms() - now_ms
        step_ms = over_ms - self._wall_over_mono_ms
        if abs(step_ms) >= self._timing.clock_step_ms:
            self._journal.record(ClockStep(step_ms=step_ms))
            self._wall_over_mono_ms = over_ms

    def _tend(self, session: RunningSession, *, now_ms: int) -> None:
        if session.is_spent(now_ms):
            self._finish(cause=EndCause.LIMIT)
            return
        if now_ms >= self._next_meter_ms:
            self._journal.meter(session)
            self._next_meter_ms = now_ms + METER_INTERVAL_MS
        if session.wants_more(now_ms) and now_ms >= self._next_extend_ms and self.screen.state is State.ACTIVE:
            self._extend(session)

    def _extend(self, session: RunningSession) -> None:
        self._next_extend_ms = self._clock.mono_ms() + self._timing.extend_again_ms
        body = SessionExtend(session_id=session.session_id, minutes_total=session.minutes_total + session.minutes_asked)
        outcome = self._client.ask(body, ExtendAnswer, tries=1)
        if isinstance(outcome, Answered) and outcome.answer.session_id == session.session_id:
            extended = self._journal.extend(session, answer=outcome.answer)
            self._no_more = None
            self.screen = replace(self.screen, session=extended, notice=None)
            return
        if isinstance(outcome, Refused):
            self._no_more = server_notice(outcome.refusal)
        else:
            self._no_more = local_notice(RefusalCode.EXTEND_UNANSWERED)
        _log.info("not_extended", code=self._no_more.code)
        self.screen = replace(self.screen, notice=self._no_more)

    def _time_out(self) -> None:
        if self.screen.state is State.CONFIRM:
            self._authorize()
        elif self.screen.state is State.ENDING:
            self._finish(cause=EndCause.TAPPED)
        else:
            self._go(Signal.TIMED_OUT, session=self.screen.session)

    def _go(
        self,
        signal: Signal,
        *,
        session: RunningSession | None = None,
        candidate: Candidate | None = None,
        notice: Notice | None = None,
        receipt: Receipt | None = None,
        lasts_ms: int | None = None,
    ) -> None:
        now_ms, state = self._clock.mono_ms(), after(self.screen.state, signal)
        if state is State.ACTIVE:
            notice = self._no_more
        self.screen = Screen(
            state=state,
            since_mono_ms=now_ms,
            until_mono_ms=None if lasts_ms is None else now_ms + lasts_ms,
            session=session,
            candidate=candidate,
            notice=notice,
            receipt=receipt,
        )
