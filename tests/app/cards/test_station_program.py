"""The station's program as a process: it enrols, makes a card of a chip in a file, and says so on its screen."""

import subprocess
import sys
import threading
from pathlib import Path

from flask import Flask
from werkzeug.serving import make_server

from app import clock
from app.cards import stations
from app.cards.models import CardStatus
from app.db import Database
from card_terminal.readers.ntag424 import EmulatedChip
from tests.app.cards.bench import Bench


def run(command: list[str], typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=typed, capture_output=True, text=True, check=False)  # noqa: S603 - our own


def test_the_program_enrols_by_its_code_and_makes_a_card(app_: Flask, database: Database, tmp_path: Path) -> None:
    made = database.run(lambda session: stations.create(session, code="S1", place="", actor="admin", at=clock.now()))
    server = make_server("127.0.0.1", 0, app_, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [
        sys.executable,
        *("-m", "card_terminal.station_program", "--server", f"http://127.0.0.1:{server.server_port}"),
        *("--data", str(tmp_path / "station"), "--simulate", str(tmp_path / "chips")),
    ]
    new = run(command, "")
    assert "--enrol-code" in new.stderr
    enrolled = run([*command, "--enrol-code", made.code], "none waits\nblank\n")
    assert "没有待制的卡" in enrolled.stdout
    bench = Bench(database=database, client=app_.test_client(), id=made.station.id)
    card = bench.order_card()

    done = run(command, "blank\n")

    server.shutdown()
    server.server_close()
    assert done.stdout.splitlines()[-1] == "制卡完成，请取走卡片 / The card is done; take it away"
    assert bench.card(card.id).status is CardStatus.ISSUED
    assert EmulatedChip.load(tmp_path / "chips" / "blank.chip").key_versions == [1] * 5
