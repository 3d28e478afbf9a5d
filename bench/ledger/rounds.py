"""Measure in rounds: a ratio compares only what was measured within the same minute."""

import statistics
from collections.abc import Callable, Mapping, Sequence


class Rates:
    """What was found, name by name and round by round."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}

    def take(self, measures: Mapping[str, Callable[[], float]], *, rounds: int) -> None:
        """Run all measures one after the other, as many times as there are rounds."""
        for _ in range(rounds):
            for name, measure in measures.items():
                self._found.setdefault(name, []).append(measure())

    def median(self, name: str) -> float:
        """Give the middle of what the rounds found."""
        return statistics.median(self._found[name])

    def ratio(self, above: str, below: str) -> float:
        """Give the middle of the rounds' ratios; both must have been taken in the same rounds."""
        pairs = zip(self._found[above], self._found[below], strict=True)
        return statistics.median(found / reference for found, reference in pairs)

    def rows(self) -> Sequence[tuple[str, float, float, float]]:
        """Give name, middle, least and most of everything found."""
        return [(name, self.median(name), min(found), max(found)) for name, found in self._found.items()]
