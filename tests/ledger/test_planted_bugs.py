"""A list of bugs that can no longer be planted proves nothing."""

import shutil
from pathlib import Path

from tests.ledger.planted_bugs import planted_bugs

ROOT = Path(__file__).parents[2]


def test_every_bug_of_the_list_can_be_planted_and_changes_something(tmp_path: Path) -> None:
    bugs = list(planted_bugs())
    assert len(set(bugs)) == len(bugs) > 100
    for bug in bugs:
        path = tmp_path / bug.file
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / bug.file, path)
        assert bug.plant(tmp_path) != path.read_text(), bug
