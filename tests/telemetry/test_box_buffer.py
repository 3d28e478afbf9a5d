"""The buffer on a box's disk: kills, torn writes, a full disk, a lost count; it loses nothing without saying so."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.box.buffer import RESERVE_BYTES, UNSETTLED_FIRST, Buffer
from telemetry.box.counter import Counter

# Writes without end, and says what is safe only after `put` came back.
WRITE = """
import sys
from pathlib import Path
from telemetry.box.buffer import Buffer
with Buffer(Path(sys.argv[1])) as buffer:
    boot = buffer.begin_boot().number
    print("boot", boot, flush=True)
    for seq in range(1, 100_000):
        buffer.put("m", '{"p":[%d]}' % seq, boot=boot, seq=seq)
        if seq % 7 == 0:
            buffer.forget(boot=boot, seq=seq - 5)
        print(boot, seq, flush=True)
"""
KILLS = 6


def fill(buffer: Buffer, *, boot: int, count: int, size: int = 10) -> None:
    buffer._file.execute("PRAGMA synchronous = OFF")  # no power is cut here, and waiting for the disk takes its time
    for seq in range(1, count + 1):
        buffer.put("m", "x" * size, boot=boot, seq=seq)


def numbers(buffer: Buffer) -> list[tuple[int, int]]:
    return [(boot, seq) for boot, seq, _, _ in buffer.waiting(but=(), limit=1_000_000)]


def test_it_keeps_until_told_and_counts_its_boots(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    with Buffer(path) as buffer:
        first = buffer.begin_boot(first=17)
        assert (first.number, first.is_new_epoch) == (17, True)
        fill(buffer, boot=17, count=3)
        buffer.put("ev", "{}", boot=17, seq=4, counters={0: Counter(raw_wh=7.5, turns_wh=100.0, resets=2)})
    with Buffer(path) as buffer:
        second = buffer.begin_boot(first=99_999)
        assert (second.number, second.is_new_epoch, second.epoch) == (18, False, first.epoch)
        assert buffer.counters() == {0: Counter(raw_wh=7.5, turns_wh=100.0, resets=2)}
        fill(buffer, boot=18, count=1)
        assert buffer.pending() == [(17, 1, 4), (18, 1, 1)]
        waiting = buffer.waiting(but={(17, 1)}, limit=3)
        assert [(boot, seq, kind) for boot, seq, kind, _ in waiting] == [(17, 2, "m"), (17, 3, "m"), (17, 4, "ev")]
        buffer.forget(boot=17, seq=3)
        buffer.forget(boot=18, seq=0)
        assert buffer.pending() == [(17, 4, 4), (18, 1, 1)]
        assert buffer.between(boot=17, first=1, last=9) == [(17, 4)]
        assert (len(buffer), buffer.lost()) == (2, 0)


def test_a_kill_at_any_moment_loses_nothing_that_was_put(tmp_path: Path) -> None:
    path, chance = tmp_path / "buffer.db", random.Random(7)  # noqa: S311 - the same moments in every run
    for kill in range(1, KILLS + 1):
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("boot")
        time.sleep(chance.uniform(0.0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        said = [line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 1]
        process.wait()
        process.stdout.close()
        boot, safe = (kill, int(said[-1][1])) if said else (kill, 0)
        with Buffer(path) as buffer:
            here = [seq for its_boot, seq in numbers(buffer) if its_boot == boot]
            # Forgotten is only what was told, and after the last that was said at most one more was written.
            assert here == list(range(here[0], here[-1] + 1)) if here else safe == 0
            assert not here or (here[-1] in (safe, safe + 1) and here[0] <= max(here[-1] - 4, 1))
            assert [each for each, _, _ in buffer.pending()] == sorted({each for each, _ in numbers(buffer)})
    with Buffer(path) as buffer:
        assert buffer.begin_boot().number == KILLS + 1


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.77, 0.999])
def test_a_torn_write_ends_before_it_and_not_before_what_was_safe(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "buffer.db"
    buffer = Buffer(path)
    boot = buffer.begin_boot().number
    fill(buffer, boot=boot, count=50, size=300)
    ahead = path.with_name("buffer.db-wal")
    torn, kept = tmp_path / "torn.db", path.read_bytes()
    log = ahead.read_bytes()
    buffer._file.close()
    torn.write_bytes(kept)
    end = int(len(log) * cut)
    noise = random.Random(3).randbytes(len(log) - end)  # noqa: S311 - what a torn write leaves, whatever it is
    torn.with_name("torn.db-wal").write_bytes(log[:end] + noise)
    with Buffer(torn) as after:
        here = [seq for _, seq in numbers(after)]
        assert here == list(range(1, len(here) + 1))
        assert len(here) >= int(50 * cut) - 5
        assert after.begin_boot(first=1).number >= 1


def test_a_file_that_cannot_be_read_is_put_aside_and_begins_a_new_epoch(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    with Buffer(path) as buffer:
        old = buffer.begin_boot(first=5)
        fill(buffer, boot=5, count=3)
    path.write_bytes(b"not a database at all" * 100)
    with Buffer(path) as buffer:
        new = buffer.begin_boot(first=1000)
        assert new.is_new_epoch
        assert new.epoch != old.epoch
        assert new.number == 1000
        assert len(buffer) == 0
    assert len(list(tmp_path.glob("buffer.db.broken-*"))) == 1


def test_what_can_still_be_read_of_a_broken_file_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    with Buffer(path) as buffer:
        boot = buffer.begin_boot(first=5)
        fill(buffer, boot=5, count=2000, size=400)
        buffer.keep("configuration", {"batch": 6})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    with Buffer(path) as buffer:
        assert len(buffer) >= 500
        assert buffer.kept("configuration") == {"batch": 6}
        # Numbers of the old file must not come again, whatever the caller believes to be the first.
        assert buffer.begin_boot(first=1).number == 6
        assert buffer.begin_boot().epoch != boot.epoch


def test_a_full_buffer_lets_go_of_its_oldest_and_counts_them(tmp_path: Path) -> None:
    with Buffer(tmp_path / "buffer.db", messages_max=100) as buffer:
        fill(buffer, boot=1, count=101)
        assert buffer.pending() == [(1, 6, 101)]
        assert buffer.lost() == 5
    with Buffer(tmp_path / "buffer.db", messages_max=100) as buffer:
        assert buffer.lost() == 5


def test_a_full_disk_lets_go_of_its_oldest_and_counts_them(tmp_path: Path) -> None:
    with Buffer(tmp_path / "buffer.db") as buffer:
        buffer.begin_boot()
        (pages,) = buffer._one("PRAGMA page_count")
        buffer._file.execute(f"PRAGMA max_page_count = {pages + 100}")  # from here on SQLite finds the disk full
        fill(buffer, boot=1, count=2000, size=400)
        here = [seq for _, seq in numbers(buffer)]
        assert buffer.lost() > 0
        assert here == list(range(buffer.lost() + 1, 2001))
        assert (tmp_path / "buffer.db.reserve").stat().st_size == RESERVE_BYTES


def test_a_disk_with_no_room_at_all_is_told_to_the_caller(tmp_path: Path) -> None:
    with Buffer(tmp_path / "buffer.db") as buffer:
        boot = buffer.begin_boot().number
        (pages,) = buffer._one("PRAGMA page_count")
        buffer._file.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError):
            buffer.put("m", "x" * 100_000, boot=boot, seq=1)
        buffer.put("m", "x", boot=boot, seq=1)
        assert numbers(buffer) == [(boot, 1)]


def test_a_box_that_cannot_count_numbers_its_boots_when_it_can(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    for start in range(2):
        with Buffer(path) as buffer:
            assert buffer.begin_boot(first=None).number == UNSETTLED_FIRST + start
            fill(buffer, boot=UNSETTLED_FIRST + start, count=2)
            assert (buffer.pending(), numbers(buffer), len(buffer)) == ([], [], 2 * start + 2)
    with Buffer(path) as buffer:
        current = buffer.begin_boot(first=None).number
        buffer.put("m", "now", boot=current, seq=1)
        assert buffer.settle(first=42) == 44
        buffer.put("m", "later", boot=44, seq=2)
        assert buffer.pending() == [(42, 1, 2), (43, 1, 2), (44, 1, 2)]
    with Buffer(path) as buffer:
        assert buffer.begin_boot(first=None).number == 45


def test_unnumbered_boots_are_numbered_also_by_the_next_start_that_can(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    with Buffer(path) as buffer:
        fill(buffer, boot=buffer.begin_boot(first=None).number, count=1)
    with Buffer(path) as buffer:
        assert buffer.begin_boot(first=500).number == 501
        assert buffer.pending() == [(500, 1, 1)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 4)),
        st.tuples(st.just("forget"), st.integers(0, 12)),
        st.tuples(st.just("reboot"), st.booleans()),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)  # each commit waits for the disk
@given(steps=STEPS)
def test_after_any_history_it_holds_exactly_what_was_put_and_not_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("buffer") / "buffer.db"
    expected: set[tuple[int, int]] = set()
    buffer = Buffer(path)
    boot, seq = buffer.begin_boot().number, 0
    for step, value in steps:
        if step == "put":
            for _ in range(value):
                seq += 1
                buffer.put("m", json.dumps(seq), boot=boot, seq=seq)
                expected.add((boot, seq))
        elif step == "forget":
            buffer.forget(boot=boot, seq=value)
            expected = {each for each in expected if each[0] != boot or each[1] > value}
        else:
            buffer._file.close()
            buffer = Buffer(path)
            if value:
                boot, seq = buffer.begin_boot().number, 0
        assert numbers(buffer) == sorted(expected)
    buffer._file.close()


def test_a_power_cut_in_the_middle_of_the_first_start_leaves_a_file_that_starts(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    with closing(sqlite3.connect(path)):
        pass
    path.write_bytes(b"")
    with Buffer(path) as buffer:
        assert buffer.begin_boot(first=3).number == 3
