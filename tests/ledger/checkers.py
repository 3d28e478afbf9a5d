"""The programs that judge an export, beancount in this process and hledger as a command."""

import json
import os
import shutil
import subprocess
from typing import Any

import pytest
from beancount import loader

HLEDGER = shutil.which("hledger")
needs_hledger = pytest.mark.skipif(HLEDGER is None, reason="hledger is not installed")


def beancount_errors(text: str) -> list[str]:
    _, errors, _ = loader.load_string(text)
    return [error.message for error in errors]


def beancount_entries(text: str) -> list[Any]:
    entries, errors, _ = loader.load_string(text)
    assert errors == []
    return list(entries)


def hledger_errors(text: str) -> str:
    """Give what `hledger check --strict` complains of; nothing when it accepts the journal."""
    found = _hledger("check", "--strict", text=text)
    assert (found.returncode == 0) == (found.stderr == ""), found
    return found.stderr


def hledger_transactions(text: str) -> list[dict[str, Any]]:
    found = _hledger("print", "--output-format=json", text=text)
    assert found.returncode == 0, found.stderr
    transactions: list[dict[str, Any]] = json.loads(found.stdout)
    return transactions


def _hledger(*arguments: str, text: str) -> "subprocess.CompletedProcess[str]":
    assert HLEDGER is not None
    return subprocess.run(  # noqa: S603 - a program of this machine, with words from above
        [HLEDGER, "-f", "-", *arguments],
        input=text,
        encoding="utf-8",
        capture_output=True,
        check=False,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )
