"""What the pages load is in the repository, is what the manifest says, and comes from nowhere else."""

import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = json.loads((ROOT / "app/static/vendor/manifest.json").read_text(encoding="utf-8"))["files"]
TEMPLATES = sorted((ROOT / "app/templates").rglob("*.html"))


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: Path(entry["file"]).name)
def test_a_vendored_file_is_the_one_of_the_manifest(entry: dict[str, str]) -> None:
    assert hashlib.sha256((ROOT / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert entry["licence"] in {"MIT", "BSD-0-Clause", "MPL-2.0"}


def test_every_vendored_file_stands_in_the_manifest() -> None:
    folder = ROOT / "app/static/vendor"
    found = {str(path.relative_to(ROOT)) for path in folder.rglob("*") if path.is_file()}
    assert found - {entry["file"] for entry in MANIFEST} == {"app/static/vendor/manifest.json"}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_no_inline_style_or_script_and_loads_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_form_that_changes_something_carries_a_token(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL):
        assert "parts.csrf()" in form or "csrf_token" in form


def test_every_icon_asked_for_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([a-z-]+)"', (ROOT / "app/static/vendor/icons/icons.svg").read_text("utf-8")))
    asked = {
        name
        for path in [*TEMPLATES, ROOT / "app/presentation.py"]
        for name in re.findall(r"""(?:icon\(|icon_name=|_l\("[^"]+"\), )"([a-z-]+)\"""", path.read_text("utf-8"))
    }
    assert asked
    assert asked <= sprite
