"""Every table of the service, imported in one place for whoever needs the whole schema."""

import importlib
import importlib.util

DOMAINS = (
    "people",
    "instruments",
    "devices",
    "cards",
    "topups",
    "sessions",
    "reconciliation",
    "subsidies",
    "reports",
)

for _domain in DOMAINS:
    if importlib.util.find_spec(f"app.{_domain}.models") is not None:
        importlib.import_module(f"app.{_domain}.models")
