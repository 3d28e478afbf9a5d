"""What Mosquitto 2.0 needs to serve exactly the enrolled boxes: its configuration, passwords and access list.

The settings were measured (docs/explanation/telemetry.md): with Mosquitto's own defaults most of a burst is dropped
although it was acknowledged. Names and clients are one: a box cannot take over another's session by its client id.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from telemetry.messages import DOWNLINK_KINDS, ROOT, UPLINK_KINDS, shard_of
from telemetry.passwords import is_password, verifier_of
from telemetry.shards import session_name, shards_of, topics_of

CONFIGURATION, PASSWORDS, ACCESS, PROCESS, DATA = "mosquitto.conf", "passwords", "access", "mosquitto.pid", "data"
QUEUED_BYTES_MAX = 1 << 30  # of one session; what is beyond it the boxes send again, for we have not acknowledged it
MESSAGE_BYTES_MAX = 2 << 20  # far above what we take, so that what is too long gets here and is named


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where Mosquitto listens. Without a certificate it speaks in the clear, and on the loopback only."""

    host: str = "127.0.0.1"
    port: int = 1883
    certificate: Path | None = None
    key: Path | None = None


def configuration(folder: Path, *, listener: Listener, user: str, save_every: int = 1) -> str:
    """Give `mosquitto.conf` for files in this folder; `user` is the account it runs as when root starts it.

    The queue is written to the disk after `save_every` changes, each time as a whole.
    Raises ValueError for a listener in the clear that others than this machine can reach.
    """
    if listener.certificate is None and listener.host not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("passwords would cross the network in the clear: give a certificate")
    lines = [
        "# Written by `testcard broker config`; it will be written over.",
        f"listener {listener.port} {listener.host}",
        "allow_anonymous false",
        "use_username_as_clientid true",
        f"password_file {folder / PASSWORDS}",
        f"acl_file {folder / ACCESS}",
    ]
    if listener.certificate is not None:
        lines += [f"certfile {listener.certificate}", f"keyfile {listener.key}", "tls_version tlsv1.2"]
    lines += [
        "max_queued_messages 0",
        f"max_queued_bytes {QUEUED_BYTES_MAX}",
        "max_inflight_messages 10000",
        f"message_size_limit {MESSAGE_BYTES_MAX}",
        "persistence true",
        f"persistence_location {folder / DATA}/",
        "autosave_on_changes true",
        f"autosave_interval {save_every}",
        "persistent_client_expiration 14d",
        f"pid_file {folder / PROCESS}",
        f"user {user}",
        "log_type error",
        "log_type warning",
        "log_type notice",
    ]
    return "\n".join(lines) + "\n"


def access(codes: Iterable[str], *, ingest: str, sets: int) -> str:
    """Give the access list: a box its own topics, each session of the ingest those of its shards."""
    boxes = [code for code in codes if code not in _ingest_names(ingest, sets)]
    return "\n".join([*_ingest_access(ingest, sets), *(line for code in boxes for line in _box_access(code))]) + "\n"


def passwords(verifiers: Mapping[str, str], *, ingest: str, ingest_verifier: str, sets: int) -> str:
    """Give the password file; the sessions of the ingest share one password."""
    # Last, so that no box of the same name lets itself in as the ingest.
    entries = dict(verifiers) | dict.fromkeys(_ingest_names(ingest, sets), ingest_verifier)
    return "".join(f"{name}:{verifier}\n" for name, verifier in entries.items())


def write_users(
    folder: Path, *, verifiers: Mapping[str, str], ingest: str, ingest_password: str, sets: int, user: str
) -> bool:
    """Let in exactly these boxes and the ingest; says whether that changed anything. A broker must `reload` it."""
    ingest_verifier = _kept_verifier(folder / PASSWORDS, session_name(ingest, number=0, sets=sets), ingest_password)
    contents = {
        PASSWORDS: passwords(verifiers, ingest=ingest, ingest_verifier=ingest_verifier, sets=sets),
        ACCESS: access(verifiers, ingest=ingest, sets=sets),
    }
    changed = [name for name, content in contents.items() if _read(folder / name) != content]
    for name in changed:
        write_private(folder / name, contents[name], user=user)
    return bool(changed)


def write_private(path: Path, content: str, *, user: str) -> None:
    """Replace a file as a whole, readable for nobody but the account that Mosquitto runs as."""
    beside = path.with_suffix(".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
    give_to(beside, user=user)
    beside.replace(path)


def give_to(path: Path, *, user: str) -> None:
    """As root, make the account that Mosquitto runs as the owner."""
    if os.geteuid() == 0:
        shutil.chown(path, user)


def reload(folder: Path) -> bool:
    """Let a running Mosquitto read passwords and access list again: who is out is put out. Says whether one runs."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((folder / PROCESS).read_text(encoding="ascii")), signal.SIGHUP)
        return True
    return False


def _ingest_names(ingest: str, sets: int) -> list[str]:
    return [session_name(ingest, number=number, sets=sets) for number in range(sets)]


def _ingest_access(ingest: str, sets: int) -> Iterator[str]:
    for number in range(sets):
        shards = shards_of(number, sets=sets)
        yield f"user {session_name(ingest, number=number, sets=sets)}"
        for topic in topics_of(shards):
            yield f"topic read {topic}"
        for shard in ("+",) if sets == 1 else tuple(f"{shard:02d}" for shard in shards):
            for kind in DOWNLINK_KINDS:
                yield f"topic write {ROOT}/{shard}/+/{kind}"


def _box_access(code: str) -> Iterator[str]:
    own = f"{ROOT}/{shard_of(code):02d}/{code}"
    yield f"user {code}"
    for kind in UPLINK_KINDS:
        yield f"topic write {own}/{kind}"
    for kind in DOWNLINK_KINDS:
        yield f"topic read {own}/{kind}"


def _kept_verifier(path: Path, name: str, password: str) -> str:
    """Keep the verifier that stands there, if it is still of this password: a new salt would be a change each time."""
    for line in (_read(path) or "").splitlines():
        before, _, verifier = line.partition(":")
        if before == name and is_password(password, verifier=verifier):
            return verifier
    return verifier_of(password)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
