"""Processes that work at the same time: started once, told what to do again and again."""

import gc
import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from bench.ledger.work import Found, Worker


@dataclass(frozen=True, slots=True)
class Task:
    """A method of Worker by its name, with its arguments."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


COALESCED = "coalesced"


class Workers:
    """So many processes at one database."""

    def __init__(self, pipes: list["Connection[Any, Any]"]) -> None:
        self._pipes = pipes

    def rate(self, task: Task, *, clients: int = 1, seconds: float) -> float:
        """Let so many processes do this at once; give the sum of what they did per second."""
        return sum(found.count / found.seconds for found in self.found(task, clients=clients, seconds=seconds))

    def found(self, task: Task, *, clients: int = 1, seconds: float) -> list[Found]:
        """Let so many processes do this at once, starting together; give what each found."""
        pipes = self._pipes[:clients]
        for pipe in pipes:
            pipe.send((task, seconds))
        for pipe in pipes:
            assert pipe.recv() == "ready"
        for pipe in pipes:
            pipe.send("go")
        return [pipe.recv() for pipe in pipes]


@contextmanager
def workers(url: str, *, processes: int) -> Iterator[Workers]:
    """Start the processes, and end them when the block ends."""
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(processes)]
    running = [context.Process(target=_serve, args=(url, theirs), daemon=True) for _, theirs in ends]
    for process, (_, theirs) in zip(running, ends, strict=True):
        process.start()
        theirs.close()  # so that a process that dies ends the measurement instead of hanging it
    try:
        yield Workers([ours for ours, _ in ends])
    finally:
        for process, (ours, _) in zip(running, ends, strict=True):
            ours.close()
            process.join(10)
            process.terminate()


def _serve(url: str, pipe: "Connection[Any, Any]") -> None:
    worker = Worker(url)

    def ready() -> None:
        gc.collect()
        gc.freeze()  # as in wsgi.py
        pipe.send("ready")
        pipe.recv()

    while True:
        try:
            task, seconds = pipe.recv()
        except EOFError:
            return
        method = getattr(worker, task.name)
        if task.name == COALESCED:
            pipe.send(method(seconds=seconds, ready=ready, **task.arguments))
        else:
            pipe.send(worker.run(method(**task.arguments), seconds=seconds, ready=ready))
