"""The reference pages of the usage record and of the evidence say what the schemas say."""

import pytest

from tests.app.reports.references import FOLDER, PAGES, PART, SCHEMAS, written


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_page_says_what_the_schemas_say(page: str) -> None:
    text = (FOLDER / page).read_text(encoding="utf-8")
    assert written(text) == text, "run python -m tests.app.reports.references"


def test_every_schema_of_the_documents_stands_on_a_page_and_every_field_has_a_meaning() -> None:
    pages = "".join((FOLDER / page).read_text(encoding="utf-8") for page in PAGES)
    assert {found[1] for found in PART.findall(pages)} == set(SCHEMAS)
    for schema in SCHEMAS.values():
        for name, field in schema().fields.items():
            assert field.metadata.get("description"), f"{schema.__name__}.{name}"
