"""The embedded MQTT broker, for one machine: authenticated users only, each held to its own topics.

Its queues live in memory and it re-sends little; that is no loss, because boxes forget nothing before our own
acknowledgement. A region runs Mosquitto or a cluster instead, with the same rules.
"""

import asyncio
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog
from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from telemetry.messages import DOWNLINK_KINDS, ROOT, UPLINK_KINDS, shard_of
from telemetry.passwords import is_password, verifier_of

CONNECTIONS_MAX = 2000
STOP_POLL_S = 0.2

log = structlog.get_logger(__name__)


class Role(StrEnum):
    """Who may log in."""

    BOX = "box"
    INGEST = "ingest"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A log-in of the broker, with its password or with what is kept of it; a box's name is its code."""

    name: str
    role: Role
    password: str = field(default="", repr=False)
    verifier: str = field(default="", repr=False)


def write_users(path: Path, *, users: Iterable[User]) -> None:
    """Replace the users file as a whole; a running broker reads it again at the next log-in."""
    _write(path, {user.name: _entry(user) for user in users})


def replace_boxes(path: Path, *, verifiers: Mapping[str, str]) -> bool:
    """Let in exactly these boxes, by code, and whoever else is no box; says whether that changed anything."""
    before = json.loads(path.read_text(encoding="utf-8"))
    content = {name: user for name, user in before.items() if user["role"] != Role.BOX}
    for code, verifier in verifiers.items():
        if code not in content:  # no box lets itself in as the ingest
            content[code] = _entry(User(name=code, role=Role.BOX, verifier=verifier))
    if content == before:
        return False
    _write(path, content)
    return True


def _entry(user: User) -> dict[str, str]:
    return {"role": user.role.value, "verifier": user.verifier or verifier_of(user.password)}


def _write(path: Path, content: Mapping[str, Mapping[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    beside.replace(path)


def may(action: Action, *, topic: str, name: str, role: Role) -> bool:
    """Say whether a user may publish, subscribe to, or receive a topic. What is not allowed here is forbidden."""
    root, _, rest = topic.removeprefix(f"{ROOT}/").partition("/")
    if not topic.startswith(f"{ROOT}/") or rest.count("/") != 1:
        return False
    box, kind = rest.split("/")
    if role is Role.INGEST:
        return kind in (DOWNLINK_KINDS if action is Action.PUBLISH else UPLINK_KINDS)
    is_own = box == name and root == f"{shard_of(name):02d}"
    return is_own and kind in (UPLINK_KINDS if action is Action.PUBLISH else DOWNLINK_KINDS)


def run(*, host: str = "127.0.0.1", port: int, users_file: Path, stop: threading.Event) -> None:
    """Serve until `stop` is set. Raises amqtt's BrokerError if the address is taken."""
    asyncio.run(_serve(f"{host}:{port}", users_file, stop))


async def _serve(bind: str, users_file: Path, stop: threading.Event) -> None:
    gate = f"{Gate.__module__}.{Gate.__qualname__}"
    broker = _Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": bind, "max_connections": CONNECTIONS_MAX}},
            "timeout_disconnect_delay": 15,
            "plugins": {gate: {"users_file": str(users_file)}},
        }
    )
    await broker.start()
    log.info("broker_started", address=bind)
    try:
        while not stop.is_set():  # noqa: ASYNC110 - the event belongs to a thread or a signal, not to this loop
            await asyncio.sleep(STOP_POLL_S)
    finally:
        await broker.shutdown()


class _Broker(Broker):  # type: ignore[misc] # amqtt ships no types
    """The broker of amqtt without two faults, each found by running boxes against it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._subscriptions = _Snapshots()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Hand out what is retained for its own subscriptions only; amqtt goes through everybody's."""
        subscribers = self._subscriptions.get(subscription[0], ())
        if any(subscriber.client_id == session.client_id for subscriber, _ in subscribers):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class _Snapshots(dict[str, list[tuple[Session, int]]]):
    """Subscriptions that may grow while a message is being handed out; with a plain dict amqtt then loses it."""

    def items(self) -> list[tuple[str, list[tuple[Session, int]]]]:  # type: ignore[override]
        return list(super().items())

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().__iter__()))


class Gate(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc] # amqtt ships no types
    """Lets in who has a password, as nobody else, and only to topics that are allowed."""

    @dataclass
    class Config:
        """Where the users are."""

        users_file: str = ""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._path = Path(self.config.users_file)
        self._read_at_ns = -1
        self._users: dict[str, dict[str, str]] = {}
        self._let_in_by: dict[str, str] = {}

    async def authenticate(self, *, session: Session) -> bool:
        """Check name, password, client id and will."""
        name, user = session.username or "", self._find(session.username)
        if user is None or not is_password(session.password or "", verifier=user["verifier"]):
            log.info("broker_login_refused", user=name[:40])
            return False
        role = Role(user["role"])
        # With another's client id one could take over its session; a will is published without another look.
        is_own_id = session.client_id == name or (
            role is Role.INGEST and (session.client_id or "").startswith(f"{name}-")
        )
        if not is_own_id or (
            session.will_flag and not may(Action.PUBLISH, topic=session.will_topic or "", name=name, role=role)
        ):
            return False
        self._let_in_by[name] = user["verifier"]
        return True

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Hold every user to its own topics; who came in by a password that has been changed is out."""
        user = self._find(session.username) if session is not None else None
        if session is None or user is None or topic is None or action is None:
            return False
        if self._let_in_by.get(session.username or "") != user["verifier"]:
            return False
        return may(action, topic=topic, name=session.username or "", role=Role(user["role"]))

    def _find(self, name: str | None) -> dict[str, str] | None:
        """Read the file again when it was replaced: a revoked box is out at once."""
        changed_at_ns = self._path.stat().st_mtime_ns
        if changed_at_ns != self._read_at_ns:
            self._users = json.loads(self._path.read_text(encoding="utf-8"))
            self._read_at_ns = changed_at_ns
        return self._users.get(name or "")
