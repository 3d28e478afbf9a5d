"""The import contracts name every module that they are about, also the one that was added yesterday."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = {"card_terminal.crypto", "card_terminal.protocol"}


def test_every_module_of_the_terminal_is_either_shared_with_the_server_or_forbidden_to_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    contract = next(each for each in contracts if each["name"].startswith("of the terminal the server shares only"))

    assert SHARED.isdisjoint(contract["forbidden_modules"])
    assert sorted(contract["forbidden_modules"]) == sorted(_modules() - SHARED)
    assert set(contract["source_modules"]) == {"app", "ledger", "telemetry"}


def _modules() -> set[str]:
    folder = ROOT / "card_terminal"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    return {f"card_terminal.{name}" for name in files | folders}
