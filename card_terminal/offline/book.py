"""The offline list in force and the clocks that bound it, kept through restarts."""

import json
import sqlite3
import threading
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from card_terminal.clock import Clock
from card_terminal.identity import Identity
from card_terminal.offline import counters
from card_terminal.offline.rules import Allowed, Clocks, Used, decide, refusal_of_time
from card_terminal.protocol import (
    OfflineCard,
    OfflineList,
    ProtocolError,
    RefusalCode,
    encode_sealing_key,
    open_card_keys,
    read_offline_list,
)
from card_terminal.store import Store, keep_facts

# A list that is newer than this by more is not worth a write to the disk.
_TRUST_STEP_MS = 1_000
FAILURES_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What could begin without the server now, for the screen: `refusal` says why nothing could."""

    refusal: RefusalCode | None
    limit_fen: int
    cards: int


class OfflineBook:
    """The newest list, who trusts which clock, and what was used. May be called from any thread."""

    def __init__(self, store: Store, *, clock: Clock, identity: Identity, sealing_key: X25519PrivateKey) -> None:
        self._store = store
        self._clock = clock
        self._identity = identity
        self._sealing_key = sealing_key
        self._lock = threading.RLock()
        kept = store.fact("offline_list")
        self._list = None if kept is None else self._read(kept)

    @property
    def version(self) -> int:
        """The version of the list in force, 0 before the first."""
        return self._list.version if self._list else 0

    @property
    def public_sealing_key(self) -> str:
        """For what key the server seals the cards' keys."""
        return encode_sealing_key(self._sealing_key)

    def learn(self, server_time_ms: int) -> None:
        """Trust the server's time from now on, by the clock that does not jump, until the machine starts again."""
        offset_ms = server_time_ms - self._clock.mono_ms()
        with self._lock:
            known_ms = self._kept("offline_trust")
            if known_ms is None or abs(known_ms - offset_ms) >= _TRUST_STEP_MS:
                self._store.keep(offline_trust=self._of_this_boot(offset_ms))
            if self._list is not None and self._kept("offline_deadline") is None:
                # The machine started since the list came: by the time just learnt, so much is left of it.
                self._store.keep(offline_deadline=self._of_this_boot(self._list.valid_until - offset_ms))

    def take(self, message: str, *, server_time_ms: int, asked_mono_ms: int) -> bool:
        """Put a newer list in force; false if it is none, or while a session of the old one runs or is unsent.

        Its time counts from `asked_mono_ms`, before the question was sent. Raises ProtocolError: not signed by the
        server for this terminal, or with keys for another.
        """
        content = read_offline_list(message, key=self._identity.server_key, device_id=self._identity.device_id)
        open_card_keys(content, key=self._sealing_key)
        left_ms = content.valid_until - max(server_time_ms, content.valid_from)
        with self._lock, self._store.transaction() as connection:
            acked_seq = int(self._store.fact("acked_seq") or 0)
            if content.version <= self.version or counters.unsent(connection, acked_seq=acked_seq).sessions:
                return False
            keep_facts(connection, offline_list=message, offline_deadline=self._of_this_boot(asked_mono_ms + left_ms))
            counters.forget(connection, before_version=content.version, acked_seq=acked_seq)
            self._list = content
        return True

    def drop(self) -> None:
        """Start nothing alone any more: the server has said that it trusts this terminal no longer."""
        with self._lock:
            self._store.keep(offline_list=None)
            self._list = None

    def clocks(self) -> Clocks:
        """Give what is known of the time."""
        mono_ms, offset_ms = self._clock.mono_ms(), self._kept("offline_trust")
        return Clocks(
            mono_ms=mono_ms,
            server_ms=None if offset_ms is None else mono_ms + offset_ms,
            deadline_mono_ms=self._kept("offline_deadline"),
        )

    def decide(self, uid: str) -> Allowed | RefusalCode:
        """Say whether the card with this UID, if it proves to be that, may start now."""
        with self._lock, self._store.transaction() as connection:
            card = self._list.card_of(uid) if self._list else None
            used = counters.used_by_card(connection, version=self.version, card=card.reference) if card else Used()
            return decide(self._list, uid, clocks=self.clocks(), used=used, unsent=self._unsent(connection))

    def spend_attempt(self, card: OfflineCard) -> bool:
        """Count an authentication before it is made; false when this card has failed too often by this list."""
        with self._lock, self._store.transaction() as connection:
            if counters.failures(connection, version=self.version, card=card.reference) >= FAILURES_MAX:
                return False
            counters.fail(connection, version=self.version, card=card.reference)
            return True

    def attempt_proved(self, card: OfflineCard) -> None:
        """Take the count back: the card itself was here."""
        with self._store.transaction() as connection:
            counters.succeed(connection, card=card.reference)

    def key_of(self, uid: str) -> bytes | None:
        """Give a card's K4, for as long as one proof takes: it is kept sealed. None if it is on the list no more."""
        with self._lock:
            card = self._list.card_of(uid) if self._list else None
            if self._list is None or card is None:
                return None
            return open_card_keys(self._list, key=self._sealing_key)[self._list.cards.index(card)]

    def standing(self) -> Standing:
        """Say what could begin now."""
        with self._lock:
            content = self._list
            if content is None or not content.cards:
                return Standing(refusal=RefusalCode.OFFLINE_NO_LIST, limit_fen=0, cards=0)
            with self._store.transaction() as connection:
                unsent = self._unsent(connection)
            refusal = refusal_of_time(content, self.clocks())
            if refusal is None and (unsent.sessions >= content.unsent_max or unsent.fen >= content.terminal_limit_fen):
                refusal = RefusalCode.OFFLINE_LIMIT_TERMINAL
            return Standing(
                refusal=refusal, limit_fen=max(card.limit_fen for card in content.cards), cards=len(content.cards)
            )

    def _unsent(self, connection: sqlite3.Connection) -> Used:
        return counters.unsent(connection, acked_seq=int(self._store.fact("acked_seq") or 0))

    def _read(self, message: str) -> OfflineList | None:
        try:
            return read_offline_list(message, key=self._identity.server_key, device_id=self._identity.device_id)
        except ProtocolError:
            # Written by this program, so the file was changed since: without a list nothing begins offline.
            return None

    def _of_this_boot(self, value: int) -> str:
        return json.dumps({"boot_key": self._clock.boot_key, "value": value})

    def _kept(self, name: str) -> int | None:
        kept = self._store.fact(name)
        content = json.loads(kept) if kept else {}
        return int(content["value"]) if content.get("boot_key") == self._clock.boot_key else None
