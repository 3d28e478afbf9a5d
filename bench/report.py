"""How a benchmark says what it found."""

import json
from collections.abc import Mapping, Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(rows: Sequence[Sequence[object]], *, head: Sequence[str]) -> None:
    """Print a table for people."""
    texts = [
        list(map(str, head)),
        *[[f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows],
    ]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def summary(name: str, values: Mapping[str, float | str | None]) -> None:
    """Print the last line, for machines; None is what could not be measured here."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
    print(json.dumps({"name": name, **rounded}))
