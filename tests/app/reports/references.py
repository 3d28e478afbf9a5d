"""Tables of fields for docs/reference, from the schemas: `python -m tests.app.reports.references` writes them."""

import re
import sys
from pathlib import Path
from typing import Any

from marshmallow import Schema, fields

from app.reconciliation.records import schemas as records
from app.reports import evidence_schemas as evidence

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "reference"
SCHEMAS: dict[str, type[Schema]] = {
    each.__name__: each
    for each in (
        records.UsageDocumentSchema,
        records.RecordEvidenceSchema,
        records.RunEvidenceSchema,
        records.VerdictEvidenceSchema,
        records.TariffEvidenceSchema,
        records.UsageRecordSchema,
        evidence.EvidenceSchema,
        evidence.ChargeSchema,
        evidence.CardEventsSchema,
        evidence.CardEventSchema,
        evidence.WatchedSchema,
        evidence.PointSchema,
        evidence.StretchSchema,
        evidence.RunSchema,
        evidence.EvidenceVerdictSchema,
        evidence.EvidenceDecisionSchema,
        evidence.ContestSchema,
        evidence.AdjustmentSchema,
        evidence.PostingSchema,
        evidence.SealSchema,
    )
}
PAGES = ("usage-record.md", "evidence.md")
PART = re.compile(r"(<!-- fields of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
WORDS = {
    fields.UUID: "UUID",
    fields.Integer: "integer",
    fields.Float: "number",
    fields.Boolean: "true, false",
    fields.Enum: "word",
    fields.AwareDateTime: "moment",
    fields.Dict: "object",
    fields.String: "text",
}


def written(page: str) -> str:
    """Give a page with its tables made anew."""
    return PART.sub(lambda found: f"{found[1]}{table(SCHEMAS[found[2]])}{found[3]}", page)


def table(schema: type[Schema]) -> str:
    """Give the fields of a schema as a table."""
    lines = ["| field | what it is | meaning |", "|---|---|---|"]
    for name, field in schema().fields.items():
        meaning = field.metadata.get("description", "")
        lines.append(f"| `{name}` | {kind(field)}{', or null' if field.allow_none else ''} | {meaning} |")
    return "\n".join((*lines, ""))


def kind(field: Any) -> str:
    """Say what a field is; a list of what, an object of which schema."""
    if isinstance(field, fields.List):
        return f"list of {kind(field.inner)}"
    if isinstance(field, fields.Nested):
        name = type(field.schema).__name__.removesuffix("Schema")
        return f"[{name}](#{name.lower()})" if type(field.schema).__name__ != "UsageRecordSchema" else "usage record"
    if isinstance(field, fields.Function):
        return {"object": "zh and en"}.get(field.metadata.get("type", "string"), "text")
    return next(word for type_, word in WORDS.items() if isinstance(field, type_))


if __name__ == "__main__":
    for name in PAGES:
        path = FOLDER / name
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
