"""The domains of the service in the order of the main job, and how to reach the same room in each of them."""

import importlib
import importlib.util
from collections.abc import Iterator
from types import ModuleType

DOMAINS = (
    "people",
    "instruments",
    "devices",
    "cards",
    "topups",
    "sessions",
    "reconciliation",
    "reconciliation.records",
    "reconciliation.terms",
    "subsidies",
    "accounting",
    "reports",
)


def rooms(name: str) -> Iterator[ModuleType]:
    """Give the module of that name (models, api, pages, terminal) of every domain that has one."""
    for domain in DOMAINS:
        path = f"app.{domain}.{name}"
        if importlib.util.find_spec(path) is not None:
            yield importlib.import_module(path)
