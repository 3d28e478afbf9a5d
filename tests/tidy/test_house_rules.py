"""The rules of the house that no linter knows: sizes, the only commit, money without floats."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
GENERATED = ("migrations/versions/",)


def _sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],  # noqa: S607 - git is on the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]


SOURCES = _sources()
PRODUCT = [
    path for path in SOURCES if path.relative_to(ROOT).parts[0] in {"app", "ledger", "telemetry", "card_terminal"}
]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_files_and_functions_stay_readable(path: Path) -> None:
    if _name(path).startswith(GENERATED):
        return
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= FILE_LINES_MAX
    for function in _functions(ast.parse(text)):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= FUNCTION_LINES_MAX, f"{function.name} has {lines} lines"


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_every_file_opens_with_one_sentence(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "says nothing about itself"


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_only_db_commits(path: Path) -> None:
    if _name(path) == "app/db.py" or _name(path).startswith(
        ("card_terminal/", "telemetry/box/", "app/topups/fake_psp/")
    ):
        return  # the terminal, the box and the fake payment service keep SQLite files of their own
    assert not re.search(r"\.commit\(", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_money_is_never_a_float(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg):
            name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            annotation = node.annotation
            if annotation is not None and "_fen" in name:
                assert "float" not in ast.unparse(annotation), f"{name} at line {node.lineno}"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            operands = f"{ast.unparse(node.left)} {ast.unparse(node.right)}"
            assert "_fen" not in operands or "Fraction" in operands, f"true division of money at line {node.lineno}"


@pytest.mark.parametrize("path", [path for path in PRODUCT if _name(path).startswith("app/")], ids=_name)
def test_now_is_read_in_one_place(path: Path) -> None:
    if _name(path) == "app/clock.py":
        return
    assert not re.search(r"datetime\.now\(|\bdate\.today\(|datetime\.utcnow\(", path.read_text(encoding="utf-8"))


def test_test_files_have_names_of_their_own() -> None:
    """Two of the same name in two folders without a package cannot be collected together."""
    names = [path.name for path in SOURCES if path.name.startswith("test_")]
    assert {name for name in names if names.count(name) > 1} == set()
