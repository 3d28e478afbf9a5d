"""Machine-hours as tables that somebody takes away: in minutes, that they can be added up."""

from collections.abc import Iterable, Iterator

from app import clock
from app.exports import Cell, Column, Form, Row, Sheet, Tone
from app.presentation import local, local_name, zone_name
from app.reconciliation.records.hours import Hours as VerifiedHours
from app.reports.service import HoursLine, MachineHours
from app.spans import Span
from app.texts import _
from telemetry.hours import Hours
from telemetry.states import State
from telemetry.vocabularies import NAMES

MINUTE_S = 60


def instruments_sheet(found: MachineHours, *, span: Span) -> Sheet:
    """Lay out the hours of many instruments over one time."""
    return _sheet(
        found,
        first=(Column(_("Instrument"), width=10), Column(_("Name"), width=24), Column(_("Unit"), width=10)),
        rows=[
            ((line.instrument.code, local_name(line.instrument), line.instrument.group.unit.code), line)
            for line in found.lines
        ],
        facts=((_("Days"), f"{span} ({zone_name()})"),),
        stem=f"machine-hours-{span.stem}",
    )


def months_sheet(found: MachineHours, *, year: int) -> Sheet:
    """Lay out the hours of one instrument over the months of a year."""
    instrument = found.lines[0].instrument
    return _sheet(
        found,
        first=(Column(_("Month"), width=10),),
        rows=[((f"{local(line.since):%Y-%m}",), line) for line in found.lines],
        facts=(
            (_("Instrument"), f"{instrument.code} {local_name(instrument)}"),
            (_("Year"), f"{year} ({zone_name()})"),
        ),
        stem=f"machine-hours-{instrument.code}-{year}",
    )


def _sheet(
    found: MachineHours,
    *,
    first: tuple[Column, ...],
    rows: Iterable[tuple[tuple[str, ...], HoursLine]],
    facts: tuple[tuple[str, str], ...],
    stem: str,
) -> Sheet:
    return Sheet(
        title=_("Machine-hours"),
        stem=stem,
        facts=(*facts, *_states()),
        columns=(
            *first,
            Column(_("Switched on, min"), Form.COUNT, 11),
            Column(_("Running, min"), Form.COUNT, 11),
            Column(_("Effective, min"), Form.COUNT, 11),
            Column(_("Off, min"), Form.COUNT, 11),
            Column(_("Off or standby, min"), Form.COUNT, 11),
            Column(_("Unknown, min"), Form.COUNT, 11),
            Column(_("Uses"), Form.COUNT, 7),
            Column(_("Verified, min"), Form.COUNT, 11),
            Column(_("External, min"), Form.COUNT, 11),
            Column(_("Provisional"), width=9, on_paper=False),
        ),
        rows=_rows(found, rows, blanks=len(first)),
        note=_("Made at %(moment)s, %(zone)s.", moment=f"{local(clock.now()):%Y-%m-%d %H:%M}", zone=zone_name()),
        page_word=lambda page, pages: _("Page %(page)s of %(pages)s", page=page, pages=pages),
        missing_word=_("Characters that the printed font lacks stand as 〓: "),
    )


def _states() -> Iterator[tuple[str, str]]:
    """Say what the states are called in other models, so that a table can be joined with others' tables."""
    for state, word in ((State.RUNNING, _("Running")), (State.STANDBY, _("Standby")), (State.OFF, _("Off"))):
        names = NAMES[state]
        lads = f"{names.lads_device}/{names.lads_functional_unit}".rstrip("/")
        yield word, f"LADS {lads} · PackML {names.packml} · SEMI E10 {names.semi_e10}"


def _rows(found: MachineHours, rows: Iterable[tuple[tuple[str, ...], HoursLine]], *, blanks: int) -> Iterator[Row]:
    for first, line in rows:
        yield Row((*first, *_cells(line.measured, line.verified)))
    yield Row((_("Total"), *(None,) * (blanks - 1), *_cells(found.measured, found.verified)), Tone.TOTAL)


def _cells(measured: Hours, verified: VerifiedHours) -> tuple[Cell, ...]:
    parts = ("total_s", "running_s", "effective_s", "off_s", "idle_s", "unknown_s")
    return (
        *(getattr(measured, part) // MINUTE_S for part in parts),
        measured.uses,
        verified.effective_s // MINUTE_S,
        verified.external_s // MINUTE_S,
        _("yes") if measured.provisional else _("no"),
    )
