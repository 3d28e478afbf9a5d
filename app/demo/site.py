"""One machine's whole site in a folder: secrets, clock, database, broker, payment service, and the service itself."""

import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import requests
import structlog

import migrations
from app import clock, settings
from app.db import Database
from app.embedded import EmbeddedPostgres
from app.supervisor import EXIT_CONFIGURATION, Program, Supervisor
from telemetry import broker

HOST = "127.0.0.1"
INGEST = "ingest"
CLOCK_SAVE_S = 2.0
POSTGRES_WATCH_S = 0.2
WEB_WORKERS = 2
WEB_THREADS = 8
LOG_IN_LIFETIME_S = 30 * 24 * 3600

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the site listens, all on the loopback interface."""

    web: int
    broker: int
    payment: int

    @classmethod
    def near(cls, web: int) -> "Ports":
        """Take the port for the web and its neighbours, or free ones where these are taken."""
        return cls(web=free_port(web), broker=free_port(web + 883), payment=free_port(web + 90))


def free_port(wanted: int) -> int:
    """Give `wanted` if nobody listens there, else a port that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise OSError("no free port on the loopback interface")


class Site:
    """All processes of one machine over one folder; a second start continues where the first one stopped."""

    def __init__(self, folder: Path, *, speed: float, ports: Ports) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self.ports = ports
        self._clock_file = self.folder / "clock"
        self._anchor = self._continue_clock(speed)
        self._secrets = self._keep_secrets()
        self._stopping = threading.Event()
        self.supervisor = Supervisor(self.folder)
        self.postgres = EmbeddedPostgres(self.folder / "postgres")
        self.environment = self._environment()
        clock.set_anchor(self._anchor)

    @property
    def url(self) -> str:
        """The address of the first page."""
        return f"http://{HOST}:{self.ports.web}"

    @property
    def anchor(self) -> clock.Anchor:
        """The clock that all processes of this site share."""
        return self._anchor

    def settings(self) -> settings.Settings:
        """Give the settings that the site's processes run with."""
        os.environ.update(self.environment)
        return settings.load()

    def start_storage(self) -> Database:
        """Start PostgreSQL on the newest schema, watch over it, and give it."""
        self.postgres.start()
        self.postgres.ensure_database()
        migrations.upgrade(self.environment["TESTCARD_DATABASE_URL"])
        threading.Thread(target=self._watch_postgres, name="postgres", daemon=True).start()
        threading.Thread(target=self._save_clock, name="clock", daemon=True).start()
        return Database(self.environment["TESTCARD_DATABASE_URL"])

    def start_service(self, box_passwords: Mapping[str, str]) -> None:
        """Start broker, payment service, web, worker and ingest, each when the one before is ready."""
        users = self.folder / "broker-users.json"
        ingest = broker.User(name=INGEST, role=broker.Role.INGEST, password=self._secrets["TESTCARD_MQTT_PASSWORD"])
        boxes = [
            broker.User(name=code, role=broker.Role.BOX, password=password) for code, password in box_passwords.items()
        ]
        broker.write_users(users, users=[ingest, *boxes])
        self.start("broker", ["-m", "app.cli", "broker", "run", "--users", str(users)], port=self.ports.broker)
        self.start("payment", ["-m", "app.topups.fake_psp"], port=self.ports.payment)
        self.start("web", self._web_arguments(), url=f"{self.url}/ready")
        self.start("worker", ["-m", "app.cli", "worker"])
        self.start("ingest", ["-m", "app.cli", "ingest"])

    def start(
        self,
        name: str,
        arguments: list[str],
        *,
        port: int | None = None,
        url: str | None = None,
        ends_by_itself: bool = False,
    ) -> None:
        """Start one child of the site; it is ready when its port takes connections or its page answers 200.

        One that may end by itself is not started again when it has said that all is well.
        """

        def is_ready() -> bool:
            return (port is None or _listens(port)) and (url is None or _answers(url))

        self.supervisor.start(
            Program(
                name=name,
                arguments=[sys.executable, *arguments],
                environment=self.environment,
                is_ready=is_ready,
                gives_up_on=frozenset({EXIT_CONFIGURATION, *([0] if ends_by_itself else [])}),
            )
        )

    def kill_postgres(self) -> None:
        """Kill the database the hard way, as a power cut would; it is started again."""
        with suppress(ProcessLookupError):
            if self.postgres.pid is not None:
                os.kill(self.postgres.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop all children, then the database."""
        self._stopping.set()
        self.supervisor.stop()
        self._remember_clock()
        self.postgres.stop()

    def _web_arguments(self) -> list[str]:
        return [
            *("-m", "gunicorn", "wsgi:application", "--bind", f"{HOST}:{self.ports.web}", "--no-control-socket"),
            *("--workers", str(WEB_WORKERS), "--threads", str(WEB_THREADS), "--worker-class", "gthread"),
            *("--graceful-timeout", "5", "--chdir", str(Path(__file__).resolve().parents[2])),
        ]

    def _environment(self) -> dict[str, str]:
        return {
            **self._secrets,
            "TESTCARD_VAR_DIR": str(self.folder),
            "TESTCARD_DATABASE_URL": self.postgres.url(),
            "TESTCARD_PUBLIC_URL": self.url,
            "TESTCARD_SECURE_COOKIES": "false",  # plain HTTP on the loopback interface
            "TESTCARD_CLOCK_ANCHOR": str(self._anchor),
            "TESTCARD_MQTT_HOST": HOST,
            "TESTCARD_MQTT_PORT": str(self.ports.broker),
            "TESTCARD_MQTT_USERNAME": INGEST,
            "TESTCARD_INGEST_SETS": "1",  # the embedded broker looks at every subscription for every message
            "TESTCARD_PSP_BASE_URL": f"http://{HOST}:{self.ports.payment}",
            # The clock runs faster than life, and a person should not be logged out after some minutes.
            "TESTCARD_LOGIN_LIFETIME": str(LOG_IN_LIFETIME_S),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "PYTHONUTF8": "1",
        }

    def _keep_secrets(self) -> dict[str, str]:
        path = self.folder / "secrets.env"
        if not path.exists():
            fresh = {**settings.fresh_secrets(), "DEMO_BOX_SECRET": secrets.token_urlsafe(16)}
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(f"{name}={value}\n" for name, value in fresh.items())
        lines = path.read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if line)

    def box_password(self, code: str) -> str:
        """Give the broker password of one of this site's simulated boxes."""
        return f"{code}-{self._secrets['DEMO_BOX_SECRET']}"

    def _continue_clock(self, speed: float) -> clock.Anchor:
        """Go on where the simulated clock stopped, never backwards: what was charged stays in the past."""
        real = clock.real_now()
        simulated = real
        if self._clock_file.exists():
            saved = datetime.fromisoformat(self._clock_file.read_text(encoding="utf-8"))
            # The file may be as old as one saving interval; that much simulated time may have been used.
            simulated = max(real, saved + timedelta(seconds=2 * CLOCK_SAVE_S * speed))
        return clock.Anchor(real=real, simulated=simulated, speed=speed)

    def _save_clock(self) -> None:
        while not self._stopping.wait(CLOCK_SAVE_S):
            self._remember_clock()

    def _remember_clock(self) -> None:
        temporary = self._clock_file.with_suffix(".new")
        temporary.write_text(clock.now().isoformat(), encoding="utf-8")
        temporary.replace(self._clock_file)

    def _watch_postgres(self) -> None:
        while not self._stopping.wait(POSTGRES_WATCH_S):
            if not self.postgres.is_running() and not self._stopping.is_set():
                log.warning("postgres_restarted")
                try:
                    self.postgres.start()
                except RuntimeError as error:
                    log.warning("postgres_not_started", why=str(error))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        time.sleep(0.05)
        return False
