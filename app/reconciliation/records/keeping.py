"""Writes usage records: the next version where something changed, and its hash into the books in one transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import ledger
from app.instruments.models import CustomerClass
from app.money import round_half_up
from app.reconciliation.models import Adjustment, UsageRecord, Verdict
from app.reconciliation.records.document import KIND, digest_of, document_id_of, json_digest
from app.reconciliation.times import from_s, to_s
from app.sessions.models import CardSession
from telemetry.models import CollectorSession

# Where the instrument stood and whose the account was: taken once, when the use is first verified.
HOME = ("group_id", "unit_id", "unit_code", "sub_center_id", "sub_center_code", "instrument_code", "account_number")


def keep_usage_record(
    session: Session, row: CardSession, verdict: Verdict, *, effective_s: int, at: datetime
) -> UsageRecord:
    """Make sure that the usage record of a charge that holds says what its verdict and its money say now.

    What it says decides, not on which version of the evidence: a new verdict with the same outcome confirms the record.
    """
    charged = _charged(session, row, effective_s=effective_s)
    newest = _newest(session, row.id)
    current = None if newest is None or newest.superseded_at is not None else newest
    if current is not None and current.verdict_id == verdict.id and _says(current, charged):
        return current
    said = {**charged, **_judged(verdict), **_measured(session, verdict)}
    if current is not None and _says(current, said):
        return current
    home = _home_of(row) if current is None else {name: getattr(current, name) for name in HOME}
    return _write(
        session,
        newest,
        at=at,
        withdrawn=False,
        session_id=row.id,
        verdict_id=verdict.id,
        algorithm_version=verdict.algorithm_version,
        evidence=_evidence(session, row, verdict),
        **said,
        **home,
    )


def drop_usage_record(session: Session, row: CardSession, *, at: datetime) -> None:
    """Withdraw the usage record of a charge, if one holds: a version that says so, and what followed is pulled back.

    The withdrawal names the verdict that holds now, which verifies no longer.
    """
    current = current_record(session, row)
    if current is None:
        return
    verdict = session.scalar(select(Verdict).where(Verdict.session_id == row.id, Verdict.superseded_at.is_(None)))
    columns = (
        *("session_id", "instrument_id", "account_id", "customer_class", "external", "started_at", "ended_at"),
        *("charged_s", "effective_s", "running_s", "overlap_s", "energy_wh"),
        *("amount_fen", "paid_principal_fen", "paid_subsidy_fen", "verdict_kind", "verified_by", "verdict_id"),
        *("algorithm_version", "evidence"),
    )
    same = {name: getattr(current, name) for name in (*columns, *HOME)}
    if verdict is not None:
        reason = {"verdict_id": verdict.id, "algorithm_version": verdict.algorithm_version, **_judged(verdict)}
        same |= {**reason, "evidence": _evidence(session, row, verdict)}
    _write(session, current, at=at, withdrawn=True, **same)


def current_record(session: Session, row: CardSession) -> UsageRecord | None:
    """Give the version that holds now."""
    return session.scalar(
        select(UsageRecord).where(UsageRecord.session_id == row.id, UsageRecord.superseded_at.is_(None))
    )


def _write(session: Session, before: UsageRecord | None, *, at: datetime, **columns: Any) -> UsageRecord:
    """Write the version after the newest one, whether that still holds or not."""
    session_id = columns["session_id"]
    if before is not None and before.superseded_at is None:
        before.superseded_at = at
        # The old row must be out of the unique index before the new one comes in.
        session.flush()
    version = 1 if before is None else before.version + 1
    made = UsageRecord(
        document_id=document_id_of(session_id, version=version),
        version=version,
        previous_digest=None if before is None else digest_of(before),
        verified_at=at,
        superseded_at=at if columns["withdrawn"] else None,
        **columns,
    )
    session.add(made)
    session.flush()
    ledger.add_documents(session, [ledger.NewDocument(id=made.document_id, kind=KIND, digest=digest_of(made))])
    return made


def _newest(session: Session, session_id: Any) -> UsageRecord | None:
    newest = select(func.max(UsageRecord.version)).where(UsageRecord.session_id == session_id).scalar_subquery()
    return session.scalar(
        select(UsageRecord).where(UsageRecord.session_id == session_id, UsageRecord.version == newest)
    )


def _says(record: UsageRecord, columns: Mapping[str, Any]) -> bool:
    return all(getattr(record, name) == value for name, value in columns.items())


def _charged(session: Session, row: CardSession, *, effective_s: int) -> dict[str, Any]:
    """Give what the card says: times in whole seconds, and the money that was charged and did not go back."""
    started_at, ended_at = row.started_at, row.ended_at
    if started_at is None or ended_at is None or row.amount_fen is None:
        raise AssertionError("a captured session has its times and its amount")
    principal_fen, subsidy_fen = session.execute(
        select(
            func.coalesce(func.sum(Adjustment.principal_fen), 0), func.coalesce(func.sum(Adjustment.subsidy_fen), 0)
        ).where(Adjustment.session_id == row.id)
    ).one()
    paid = {
        "paid_principal_fen": row.paid_principal_fen - int(principal_fen or 0),
        "paid_subsidy_fen": row.paid_subsidy_fen - int(subsidy_fen or 0),
    }
    return {
        "instrument_id": row.instrument_id,
        "account_id": row.account_id,
        "customer_class": row.customer_class,
        "external": row.customer_class is not CustomerClass.OWN_UNIT and not _is_own_unit(row),
        "started_at": started_at,
        "ended_at": ended_at,
        "charged_s": to_s(ended_at) - to_s(started_at),
        "effective_s": effective_s,
        "amount_fen": sum(paid.values()),
        **paid,
    }


def _is_own_unit(row: CardSession) -> bool:
    """Say whether the customer belongs to the instrument's own unit, whatever prices the tariff gives him."""
    account = row.account
    organisation_id = account.organisation_id
    if organisation_id is None and account.person is not None:
        organisation_id = account.person.organisation_id
    return organisation_id == row.instrument.group.unit.organisation_id


def _judged(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict_kind": verdict.verdict,
        "verified_by": None if verdict.reviewed_by is None else verdict.reviewed_by.username,
    }


def _own_shares(verdict: Verdict) -> list[Mapping[str, Any]]:
    return [share for share in verdict.evidence.get("runs", ()) if share["own"]]


def _runs(session: Session, shares: Sequence[Mapping[str, Any]]) -> dict[int, CollectorSession]:
    """Give the runs by id; those that were gathered a moment ago are not asked for again."""
    found = (session.get(CollectorSession, share["run_id"]) for share in shares)
    return {run.id: run for run in found if run is not None}


def _measured(session: Session, verdict: Verdict) -> dict[str, Any]:
    """Give what the box says: of a run that only partly lies in this charge, the energy goes with the time."""
    shares = _own_shares(verdict)
    runs = _runs(session, shares)
    energy_wh = Fraction(0)
    for share in shares:
        if (run := runs.get(share["run_id"])) is not None:
            length_s = max(1, to_s(run.last_run_at) - to_s(run.first_run_at))
            energy_wh += Fraction(round(run.energy_wh * 1000), 1000) * Fraction(share["overlap_s"], length_s)
    return {
        "running_s": sum(share["overlap_s"] for share in shares),
        "overlap_s": verdict.overlap_s,
        "energy_wh": round_half_up(energy_wh),
    }


def _home_of(row: CardSession) -> dict[str, Any]:
    instrument, unit = row.instrument, row.instrument.group.unit
    return {
        "instrument_code": instrument.code,
        "group_id": instrument.group_id,
        "unit_id": unit.id,
        "unit_code": unit.code,
        "sub_center_id": unit.sub_center_id,
        "sub_center_code": None if unit.sub_center is None else unit.sub_center.code,
        "account_number": row.account.number,
    }


def _evidence(session: Session, row: CardSession, verdict: Verdict) -> dict[str, Any]:
    """Name what the record rests on: runs with their versions, the verdict, the prices; long texts by their hash."""
    shares = _own_shares(verdict)
    runs = _runs(session, shares)
    return {
        "runs": [
            {
                "id": share["run_id"],
                "version": share["version"],
                "overlap_s": share["overlap_s"],
                "box": None if (run := runs.get(share["run_id"])) is None else run.box,
                "channel": None if run is None else run.channel,
            }
            for share in shares
        ],
        "verdict": {"version": verdict.version, "sha256": json_digest(verdict.evidence)},
        "tariffs": _tariffs(row),
    }


def _tariffs(row: CardSession) -> dict[str, Any]:
    """Name the price rules that held at swipe-in and those that came into force before the end."""
    snapshot = row.tariff_snapshot
    ended_s = to_s(row.ended_at or row.latest_end_at)
    later = [
        change["tariff_id"]
        for change in snapshot.get("changes", ())
        if datetime.fromisoformat(change["from"]) < from_s(ended_s)
    ]
    first = snapshot.get("tariff_id")
    return {"ids": ([] if first is None else [first]) + later, "sha256": json_digest(snapshot)}
