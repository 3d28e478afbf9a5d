import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", ["migrate", "worker", "ingest", "ledger verify"])
def test_a_process_without_settings_names_them_and_ends_as_wrongly_configured(command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TESTCARD_")}
    ended = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "app.cli", *command.split()],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == os.EX_CONFIG
    assert "TESTCARD_DATABASE_URL" in ended.stderr
    assert "Traceback" not in ended.stderr
