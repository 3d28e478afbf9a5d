"""The simulated collector boxes of a plan, all in one process; each replays slices of a real power trace."""

import os
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from app import clock
from telemetry.box.agent import BoxAgent
from telemetry.box.programme import Programme, load
from telemetry.commands import Configuration

# A message for every simulated minute: a watcher sees the state change about as soon as a person beside the box would.
SAMPLE_S = 10
SAMPLES_PER_MESSAGE = 6
RECONNECT_S_MAX = 2


def programme_of(box: Mapping[str, Any]) -> Programme:
    """Give what a box of the plan measures: a loop of slices of a trace."""
    return Programme(
        trace=box["trace"],
        slices=tuple((start_s, end_s) for start_s, end_s in box["slices"]),
        starts_at=datetime.fromisoformat(box["starts_at"]),
    )


def began(box: Mapping[str, Any], *, folder: Path) -> Path:
    """Give the file that says when a box without a fixed beginning began."""
    return folder / f"{box['code']}.began"


def run(plan: Mapping[str, Any], *, anchor: clock.Anchor, stop: threading.Event) -> None:
    """Run all boxes of the plan until `stop` is set."""
    folder = Path(plan["boxes_folder"])
    folder.mkdir(parents=True, exist_ok=True)
    for trace in {box["trace"] for box in plan["boxes"]}:
        load(trace)  # once, before all boxes ask for it at the same moment
    boxes = [_with_beginning(box, folder=folder) for box in plan["boxes"]]
    threads = [
        threading.Thread(target=_agent(box, folder=folder, speed=anchor.speed).run, args=(stop,), name=box["code"])
        for box in boxes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _with_beginning(box: Mapping[str, Any], *, folder: Path) -> Mapping[str, Any]:
    """A programme without a beginning begins when this process is ready for it, and after a restart it goes on."""
    if box["starts_at"] is not None:
        return box
    file = began(box, folder=folder)
    if not file.exists():
        unfinished = file.with_suffix(".new")
        unfinished.write_text(clock.now().isoformat(), encoding="ascii")
        unfinished.rename(file)
    return {**box, "starts_at": file.read_text(encoding="ascii")}


def _agent(box: Mapping[str, Any], *, folder: Path, speed: float) -> BoxAgent:
    return BoxAgent(
        code=box["code"],
        password=box["password"],
        host=os.environ["TESTCARD_MQTT_HOST"],
        port=int(os.environ["TESTCARD_MQTT_PORT"]),
        sources=[programme_of(box)],
        now=clock.now,
        buffer_path=folder / f"{box['code']}.db",
        configuration=Configuration(sample_s=SAMPLE_S, batch=SAMPLES_PER_MESSAGE),
        speed=speed,
        reconnect_s_max=RECONNECT_S_MAX,
    )
