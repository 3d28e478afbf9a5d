import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "TESTCARD_DATABASE_URL": "postgresql://localhost/nowhere",
    "TESTCARD_SECRET_KEY": "s" * 32,
    "TESTCARD_KEY_ENCRYPTION_KEY": "00" * 32,
}
LOOK = "import gc, wsgi; print(gc.get_freeze_count(), len(gc.get_objects()))"


def test_the_application_starts_without_a_database_and_its_parts_are_no_more_looked_through_for_garbage() -> None:
    command = [sys.executable, "-c", LOOK]
    run = subprocess.run(command, env={**os.environ, **SETTINGS}, cwd=ROOT, text=True, capture_output=True, check=True)  # noqa: S603 - our own words
    frozen, looked_through = map(int, run.stdout.split())
    assert looked_through < frozen / 100
