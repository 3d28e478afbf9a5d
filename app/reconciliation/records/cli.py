"""The commands `testcard usage …`: usage records proved, written out and followed, for the person at the machine."""

import json
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path
from uuid import UUID

import click

import ledger
from app.db import Database
from app.starting import prepare

DAY = click.DateTime(["%Y-%m-%d"])


@click.group(name="usage")
def usage_commands() -> None:
    """Verified usage records: proof and export."""


@usage_commands.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of sentences.")
def verify(*, as_json: bool) -> None:
    """Make every record's hash anew and compare it with the books; exit 1 and name what is not as it was written.

    That the books stand as they were sealed is for `testcard ledger verify` to say: only both together prove a record.
    """
    from app.reconciliation.records import verifying  # noqa: PLC0415 - only this command reads every record

    with closing(Database(prepare().database_url)) as database, database.reader() as session:
        found = verifying.verify_records(session)
    if as_json:
        findings = [{"sentence": each.sentence, **_fields(each)} for each in found.findings]
        click.echo(json.dumps({"records": found.records, "findings": findings}, default=str, indent=2))
    else:
        for each in found.findings:
            where = f" {each.document_id}" if each.session_id is None else f" {each.session_id} version {each.version}"
            click.echo(f"NOT SO: {each.sentence}{where}\n    must be: {each.derived}\n    stands:  {each.found}")
        summary = f"{len(found.findings)} findings" if found.findings else "every record stands as it was written"
        click.echo(f"{summary} ({found.records} versions)")
    sys.exit(1 if found.findings else 0)


@usage_commands.command()
@click.argument("session_id", metavar="SESSION", type=click.UUID)
def prove(session_id: UUID) -> None:
    """Print the proof of each version of one use's record as JSON, for docs/check_proof.py."""
    from app.reconciliation.records import reading  # noqa: PLC0415 - only this command needs it

    with closing(Database(prepare().database_url)) as database, database.reader() as session:
        try:
            proofs = [reading.proof_of(session, record) for record in reading.every_version(session, session_id)]
        except ledger.NotSealedError as error:
            raise click.ClickException(str(error)) from error
    if not proofs:
        raise click.ClickException(f"There is no usage record of the use {session_id}.")
    click.echo(json.dumps(proofs, ensure_ascii=False, indent=2))


@usage_commands.command()
@click.option("--format", "form", type=click.Choice(["json", "csv", "xlsx"]), default="json", show_default=True)
@click.option("--since", type=DAY, help="First day on which a use ended; else the first of all.")
@click.option("--until", type=DAY, help="Last day, included; else today.")
@click.option("--all-versions", is_flag=True, help="With what holds no longer, as JSON lines in the order written.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file; else standard output.")
@click.option("--language", type=click.Choice(["zh", "en"]), default="zh", show_default=True)
def export(
    *, form: str, since: datetime | None, until: datetime | None, all_versions: bool, out: Path | None, language: str
) -> None:
    """Write the records: as JSON lines in the form that is sealed, or as a table."""
    from app.reconciliation.records.printing import print_records  # noqa: PLC0415 - only this needs the pages' words

    first, last = (None if each is None else each.date() for each in (since, until))
    if all_versions and form != "json":
        raise click.UsageError("--all-versions goes with --format json: a table shows what holds.")
    print_records(form=form, first=first, last=last, all_versions=all_versions, out=out, language=language)


def _fields(finding: object) -> dict[str, object]:
    return {name: getattr(finding, name) for name in finding.__dataclass_fields__}  # type: ignore[attr-defined]
