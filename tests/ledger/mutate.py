"""Plants bugs in the ledger, one at a time, and says which of them no test noticed: `make mutate`.

Python is changed by mutmut, function by function, as [tool.mutmut] in pyproject.toml says; SQL by the list in
planted_bugs.txt. Both work on copies of the tree, so that the tree itself may be worked on meanwhile.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from app.embedded import EmbeddedPostgres
from migrations import upgrade
from tests.conftest import SERVER_URL, TEMPLATE, quick_folder
from tests.ledger.planted_bugs import Bug, planted_bugs

ROOT = Path(__file__).parents[2]
COPIED = ("ledger", "app", "migrations", "telemetry", "card_terminal", "tests", "pyproject.toml")
WORKERS = int(os.environ.get("MUTATE_WORKERS") or os.cpu_count() or 1)
FAILED = 1
REFUSED = ("killed", "caught by type check")
SQL_TESTS = ("tests/test_rights.py",)
SQL = "sql"


def main(arguments: Sequence[str]) -> int:
    """Plant the SQL bugs if `sql` is asked for, the Python mutants whose names match, or everything.

    Gives 1 if an SQL bug was not noticed: the list holds only what must be.
    """
    names = [argument for argument in arguments if argument != SQL]
    with tempfile.TemporaryDirectory(prefix="mutate-", dir=quick_folder()) as folder, server(Path(folder) / "postgres"):
        planted = plant_all(Path(folder), list(planted_bugs())) if SQL in arguments or not arguments else []
        mutants = mutate(Path(folder) / "python", names) if names or not arguments else {}
    if mutants:
        print_mutants(mutants)
    survivors = [bug for bug, test in planted if test is None]
    if planted:
        print(f"\nSQL: {len(planted) - len(survivors)} of {len(planted)} planted bugs were noticed.")
    for bug in survivors:
        print(f"  not noticed: {bug}")
    return 1 if survivors else 0


@contextmanager
def server(folder: Path) -> Iterator[None]:
    """Run a server with a migrated template, for every pytest that starts meanwhile."""
    # No worker of the server's own may hold up a close, and nothing here outlives a crash.
    postgres = EmbeddedPostgres(
        folder, options=("fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=300")
    )
    postgres.start()
    try:
        postgres.ensure_database(TEMPLATE)
        upgrade(postgres.url(TEMPLATE))
        os.environ[SERVER_URL] = postgres.url("{name}").replace("%7Bname%7D", "{name}")
        yield
    finally:
        del os.environ[SERVER_URL]
        postgres.stop()


def copy_tree(place: Path) -> Path:
    """Copy what the tests need."""
    place.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place / name)
    return place


def plant_all(folder: Path, bugs: Sequence[Bug]) -> list[tuple[Bug, str | None]]:
    """Plant each bug in a copy of its own and give the test that noticed it."""
    copies: SimpleQueue[Path] = SimpleQueue()
    for number in range(WORKERS):
        copies.put(copy_tree(folder / f"sql-{number}"))

    def noticed_by(bug: Bug) -> str | None:
        tree = copies.get()
        right = bug.plant(tree)
        try:
            test = _failing_test(tree, bug)
        finally:
            (tree / bug.file).write_text(right)
            copies.put(tree)
        print(f"{bug}\n    {test or 'NOT NOTICED'}", flush=True)
        return test

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(zip(bugs, pool.map(noticed_by, bugs), strict=True))


def _failing_test(tree: Path, bug: Bug) -> str | None:
    """Run the tests in this tree, the bug's own first; a changed migration needs a server of its own."""
    left_out = {SERVER_URL} if "migrations" in bug.file else set()
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    settings = tomllib.loads((tree / "pyproject.toml").read_text())["tool"]["mutmut"]
    tests = settings["pytest_add_cli_args_test_selection"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        *settings["pytest_add_cli_args"],
        *bug.tests,
        *tests,
        *SQL_TESTS,
    ]
    run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if run.returncode not in (0, FAILED):
        raise RuntimeError(f"the tests cannot run: {run.stdout[-2000:]}{run.stderr[-2000:]}")
    failed = [line.split()[1] for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return next(iter(failed), "a test") if run.returncode == FAILED else None


def mutate(tree: Path, names: Iterable[str]) -> dict[str, Counter[str]]:
    """Let mutmut try the mutants; give how often each module's ended in which way, and print those that survived."""
    copy_tree(tree)
    _mutmut(tree, "run", "--max-children", str(WORKERS), *names)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for line in _mutmut(tree, "results", "--all", "true", is_read=True).splitlines():
        name, _, status = line.strip().partition(": ")
        if not status or status == "not checked":
            continue
        counts[name.split(".")[1]][status] += 1
        if status not in REFUSED:
            shown = _mutmut(tree, "show", name, is_read=True)
            print(f"{status}: {name}", *(each for each in shown.splitlines() if each[:1] in "+-"), sep="\n")
    return counts


def _mutmut(tree: Path, *arguments: str, is_read: bool = False) -> str:
    # mutmut looks for mypy by its name.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    output = subprocess.PIPE if is_read else None
    run = subprocess.run(command, cwd=tree, env=environment, check=True, stdout=output, text=True)  # noqa: S603 - our own
    return run.stdout or ""


def print_mutants(counts: dict[str, Counter[str]]) -> None:
    """Print the table of docs/reference/mutation.md."""
    statuses = [*REFUSED, *sorted({status for each in counts.values() for status in each} - set(REFUSED))]
    print("", f"| module | mutants | {' | '.join(statuses)} |", sep="\n")
    print("|---|" + "---|" * (len(statuses) + 1))
    for module, each in sorted(counts.items()):
        numbers = [each.total(), *(each[status] for status in statuses)]
        print(f"| `{module}` | {' | '.join(map(str, numbers))} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
