import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog

from app.supervisor import POLL_S, RESTART_PAUSE_S, Program, StartError, Supervisor

BEATS = """
import pathlib, sys, time
while True:
    pathlib.Path(sys.argv[1]).write_text(str(time.time()))
    time.sleep(0.05)
"""

LEAVES = """
import pathlib, sys
with pathlib.Path(sys.argv[1]).open("a") as starts:
    starts.write("started\\n")
sys.exit(int(sys.argv[2]))
"""


def _heart(name: str, folder: Path) -> Program:
    beat = folder / f"{name}.beat"
    return Program(name=name, arguments=[sys.executable, "-c", BEATS, str(beat)], is_ready=beat.exists)


def _wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _pids(folder: Path) -> list[int]:
    return [pid for pid, _ in json.loads((folder / "processes.json").read_text())]


def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(_heart("heart", tmp_path))
    first = _pids(tmp_path)
    supervisor.kill("heart")
    _wait_for(lambda: _pids(tmp_path) != first and psutil.pid_exists(_pids(tmp_path)[0]))
    supervisor.stop()


def test_stopping_leaves_no_child_behind(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    for name in ("one", "two"):
        supervisor.start(_heart(name, tmp_path))
    pids = _pids(tmp_path)
    supervisor.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_child_that_never_gets_ready_is_told_with_the_place_of_its_words(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    mute = Program(name="mute", arguments=[sys.executable, "-c", ""], is_ready=lambda: False, ready_timeout_s=0.3)
    with pytest.raises(StartError, match=r"mute did not start; see .*mute\.log"):
        supervisor.start(mute)
    supervisor.stop()


@pytest.mark.parametrize(("status", "gives_up_on"), [(78, None), (0, frozenset({0, 78}))])
def test_a_child_that_starting_again_cannot_help_is_left_alone_and_told_once(
    tmp_path: Path, status: int, gives_up_on: frozenset[int] | None
) -> None:
    starts = tmp_path / "starts"
    values: dict[str, Any] = {} if gives_up_on is None else {"gives_up_on": gives_up_on}
    leaver = Program(name="leaver", arguments=[sys.executable, "-c", LEAVES, str(starts), str(status)], **values)
    supervisor = Supervisor(tmp_path)

    with structlog.testing.capture_logs() as logs:
        supervisor.start(leaver)
        _wait_for(lambda: any(line["event"] == "child_gave_up" for line in logs))
        time.sleep(2 * RESTART_PAUSE_S[0] + 2 * POLL_S)

    assert [(line["event"], line["name"], line["exit_status"]) for line in logs] == [
        ("child_gave_up", "leaver", status)
    ]
    assert starts.read_text() == "started\n"
    supervisor.stop()


def test_a_child_that_ends_in_any_other_way_is_started_again(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    supervisor = Supervisor(tmp_path)
    supervisor.start(Program(name="leaver", arguments=[sys.executable, "-c", LEAVES, str(starts), "0"]))
    _wait_for(lambda: starts.exists() and starts.read_text().count("started") >= 2)
    supervisor.stop()


def test_a_child_that_gives_up_before_it_is_ready_is_not_waited_for(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    misled = Program(
        name="misled",
        arguments=[sys.executable, "-c", LEAVES, str(tmp_path / "starts"), "78"],
        is_ready=lambda: False,
    )
    with pytest.raises(StartError, match=r"misled did not start; see .*misled\.log"):
        supervisor.start(misled)
    supervisor.stop()


def test_a_second_start_ends_what_a_killed_supervisor_left(tmp_path: Path) -> None:
    killed = Supervisor(tmp_path)
    killed.start(_heart("heart", tmp_path))
    orphan = psutil.Process(_pids(tmp_path)[0])
    killed._stopping.set()  # its watcher must not bring the child back, as a killed one could not
    Supervisor(tmp_path)
    _wait_for(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)
    killed.stop()
