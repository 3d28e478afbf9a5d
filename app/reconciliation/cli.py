"""`testcard reconcile`: work off what is due now, or decide a whole range anew and say what changed."""

import sys
from datetime import date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import click
from sqlalchemy.orm import Session

from app import clock
from app.db import Database
from app.reconciliation import due, rerunning, service
from app.settings import Settings
from app.starting import prepare

BATCH = 200
PROGRESS_EVERY = 20


@click.command()
@click.option("--full", is_flag=True, help="Decide a whole range anew instead of what is due.")
@click.option("--from", "since", type=click.DateTime(["%Y-%m-%d"]), help="First day of the site, with --full.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day, with --full; today without it.")
@click.option("--instrument", "codes", multiple=True, help="Only the instrument of this code; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and write nothing.")
def reconcile(
    *, full: bool, since: datetime | None, until: datetime | None, codes: tuple[str, ...], dry_run: bool
) -> None:
    """Reconcile charges with what the boxes saw. Twice is once: what is unchanged makes no new version."""
    values = prepare()
    database, failed = Database(values.database_url), False
    if not full:
        if since or until or codes or dry_run:
            raise click.UsageError("--from, --until, --instrument and --dry-run go with --full")
        click.echo(f"{_work_off(database, values)} verdicts are new.")
    elif since is None:
        raise click.UsageError("--full needs --from")
    else:
        first, last = since.date(), until.date() if until else clock.now().astimezone(values.site_timezone).date()
        if last < first:
            raise click.UsageError("--until lies before --from")
        failed = _rerun(database, values, first=first, last=last, codes=codes, dry_run=dry_run)
    database.close()
    if failed:
        sys.exit(1)


def _work_off(database: Database, values: Settings) -> int:
    written, more = 0, True
    while more:
        new, more = database.run(partial(_work_off_once, zone=values.site_timezone, at=clock.now()))
        written += new
    return written


def _work_off_once(session: Session, *, zone: ZoneInfo, at: datetime) -> tuple[int, bool]:
    """Give how many verdicts are new, and whether there is more: one batch without news is not the last."""
    new = service.reconcile(session, at=at, limit=BATCH, zone=zone)
    return new, new > 0 or due.is_any(session, at=at)


def _rerun(
    database: Database, values: Settings, *, first: date, last: date, codes: tuple[str, ...], dry_run: bool
) -> bool:
    """Decide a range anew and print what changed; says whether a piece failed."""
    zone = values.site_timezone
    report = rerunning.rerun_all(
        database,
        since=datetime.combine(first, time(), tzinfo=zone),
        until=datetime.combine(last + timedelta(days=1), time(), tzinfo=zone),
        zone=zone,
        now=clock.now,
        codes=codes,
        dry_run=dry_run,
        progress=_show,
    )
    click.echo(
        f"{report.charges} charges and {report.runs} runs in {report.pieces} pieces: "
        f"{report.changed} verdicts {'would be' if dry_run else 'are'} new."
    )
    for change, count in sorted(report.changes.items()):
        click.echo(f"  {change.of}: {change.before or 'none'} -> {change.after}: {count}")
    if report.failures:
        click.echo(
            f"{len(report.failures)} of {report.pieces} pieces could not be decided; the log says why:", err=True
        )
    for failure in report.failures:
        days = f"{failure.since.astimezone(zone):%Y-%m-%d} to {failure.until.astimezone(zone):%Y-%m-%d}"
        click.echo(f"  {failure.code}, {days}: {failure.error}", err=True)
    return bool(report.failures)


def _show(report: rerunning.Report, code: str) -> None:
    if report.pieces % PROGRESS_EVERY == 0 or report.pieces == report.pieces_total:
        share = 100 * report.pieces // report.pieces_total
        click.echo(f"{share:3d}%  {report.pieces}/{report.pieces_total}  {code}  {report.changed} new", file=sys.stderr)
