"""Reads the list of bugs in SQL, and plants one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_suffix(".txt")
TESTS = "tests/ledger"


@dataclass(frozen=True)
class Bug:
    """A place in a file, and what somebody might write there by mistake; `tests` should be the first to see it."""

    file: str
    tests: tuple[str, ...]
    place: str
    right: str
    wrong: str

    def __str__(self) -> str:
        """Give it on one line."""
        return " ".join(f"{self.file}: {self.place}: {self.right} -> {self.wrong or 'nothing'}".split())

    def plant(self, tree: Path) -> str:
        """Write the bug into a copy of the tree and give the text that stood there. Raises ValueError if it cannot."""
        path = tree / self.file
        text = path.read_text()
        if text.count(self.place) != 1 or self.right not in self.place:
            raise ValueError(f"There is no such place, or more than one: {self}")
        path.write_text(text.replace(self.place, self.place.replace(self.right, self.wrong, 1)))
        return text


def planted_bugs() -> Iterator[Bug]:
    """Give every bug of the list, in its order."""
    file = place = ""
    tests: tuple[str, ...] = ()
    for line in LIST.read_text().splitlines():
        if line.startswith("file "):
            file = line.removeprefix("file ")
        elif line.startswith("tests "):
            tests = tuple(f"{TESTS}/{name}.py" for name in line.split()[1:])
        elif line.startswith("in "):
            place = line.removeprefix("in ").replace("\\n", "\n")
        elif line and not line.startswith("#"):
            right, _, wrong = line.strip().partition(" ->")
            yield Bug(file, tests, place, place if right == "all" else right, wrong.strip())
