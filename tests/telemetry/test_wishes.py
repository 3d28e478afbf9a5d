"""What stands still is asked for, patiently, and nothing else is."""

import itertools
from dataclasses import dataclass

from telemetry.commands import Command, Rebirth, Resend
from telemetry.ingest import Acknowledgement
from telemetry.messages import Topic
from telemetry.wishes import PATIENCE_S, RESEND_MESSAGES_MAX, Wishes
from tests.telemetry.wire import at


@dataclass
class Watch:
    """A clock that stands until it is turned."""

    shows_s: float = 100.0

    def __call__(self) -> float:
        return self.shows_s


def found(hole: tuple[int, int] | None, *, born: bool = True) -> Acknowledgement:
    return Acknowledgement(topic=Topic(shard=7, box="cb-001", kind="ack"), boot=3, seq=4, hole=hole, born=born)


def asked(wishes: Wishes, *acknowledgements: Acknowledgement) -> list[tuple[str, Command]]:
    return [(str(topic), command) for each in acknowledgements for topic, command in wishes.consider(each)]


def test_a_hole_that_stands_still_is_asked_for_and_one_that_moves_is_not() -> None:
    watch = Watch()
    wishes = Wishes(now=lambda: at(0), monotonic_s=watch)
    assert asked(wishes, found((5, 9))) == []
    watch.shows_s += PATIENCE_S
    assert asked(wishes, found((8, 9))) == []
    watch.shows_s += PATIENCE_S
    ((where, command),) = asked(wishes, found((8, 9)))
    assert where == "cb/v1/07/cb-001/cmd"
    assert isinstance(command, Resend)
    assert (command.boot, command.first, command.last) == (3, 8, 9)


def test_who_does_not_answer_is_asked_less_and_less_often() -> None:
    watch = Watch()
    wishes = Wishes(now=lambda: at(0), monotonic_s=watch)
    times = []
    for second in range(600):
        watch.shows_s = float(second)
        times += [second for _ in asked(wishes, found((5, 9)))]
    assert [after - before for before, after in itertools.pairwise(times)] == [20, 40, 80, 160]


def test_a_long_hole_is_asked_for_in_parts() -> None:
    watch = Watch()
    wishes = Wishes(now=lambda: at(0), monotonic_s=watch)
    asked(wishes, found((1, 100_000)))
    watch.shows_s += PATIENCE_S
    ((_, command),) = asked(wishes, found((1, 100_000)))
    assert isinstance(command, Resend)
    assert (command.first, command.last) == (1, RESEND_MESSAGES_MAX)


def test_a_box_that_never_said_what_it_is_is_asked_to() -> None:
    watch = Watch()
    wishes = Wishes(now=lambda: at(0), monotonic_s=watch)
    asked(wishes, found(None, born=False))
    watch.shows_s += PATIENCE_S
    commands = [command for _, command in asked(wishes, found(None, born=False), found(None), found(None, born=False))]
    assert [type(command) for command in commands] == [Rebirth]


def test_numbers_of_commands_grow_though_the_clock_stands() -> None:
    watch = Watch()
    wishes = Wishes(now=lambda: at(0), monotonic_s=watch)
    asked(wishes, found((5, 9), born=False))
    watch.shows_s += PATIENCE_S
    first, second = (command.id for _, command in asked(wishes, found((5, 9), born=False)))
    assert second == first + 1
