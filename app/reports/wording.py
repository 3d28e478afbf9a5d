"""What was billed and why, in one sentence a customer can check against the picture."""

from datetime import timedelta
from typing import Any

from app import labels
from app.presentation import clock_time_text, duration, local_name, plain_yuan
from app.reconciliation.models import ChargeVerdict, Verdict
from app.reports.service import Evidence
from app.sessions.models import CardSession, SessionStatus
from app.subsidies.deciding import Reason
from app.subsidies.models import Decision
from app.texts import _, _l

MINUTE_S = 60
ALL_EXPLAINED = _l(
    "The box saw the instrument run for %(overlap)s of the charged time; the rest is preparation and cleaning up."
)
REASONS = {
    ChargeVerdict.MATCHED: _l(
        "The box saw the instrument run for %(overlap)s of the charged time. The rest, %(idle)s that no run or"
        " preparation explains, is within the tolerance of %(tolerance)s."
    ),
    ChargeVerdict.MATCHED_SPLIT: _l(
        "The box saw %(runs)d runs, together %(overlap)s of the charged time; the pauses between them belong to one"
        " use."
    ),
    ChargeVerdict.MATCHED_SHARED: _l(
        "The instrument ran on while the cards changed; %(overlap)s of that run lie in this charge."
    ),
    ChargeVerdict.OVER_CHARGED: _l(
        "The box saw the instrument run for %(overlap)s only; %(idle)s of the charged time are explained by nothing."
        " The swipe-out may have been forgotten."
    ),
    ChargeVerdict.UNDER_CHARGED: _l("The instrument ran %(unpaid)s outside the charged time without another card."),
    ChargeVerdict.PHANTOM: _l("The box was at work and saw no run; the card paid for an instrument that did not run."),
    ChargeVerdict.NO_EVIDENCE: _l(
        "The box said nothing for %(unknown)s of the charged time. Silence proves neither use nor idleness, so the"
        " charge stands but is not verified."
    ),
    ChargeVerdict.BOX_SUSPECT: _l(
        "The clock or the readings of the box are doubtful for this time, so they decide nothing."
    ),
    ChargeVerdict.PROVISIONAL: _l(
        "The box may not have told everything about this time yet; the verdict follows when it has."
    ),
    ChargeVerdict.EXEMPT: _l("The charge has no length, so there is nothing to compare."),
}
NO_BOX = _l(
    "No collector box stood at this instrument, so nothing but the card speaks for the use; the charge stands but is"
    " not verified."
)


def claim(found: Evidence) -> str:
    """Say what was billed for which time on which instrument."""
    charge = found.charge
    instrument = local_name(charge.instrument)
    if charge.status is SessionStatus.REFUSED:
        return _("The card was refused on %(instrument)s; nothing was reserved or charged.", instrument=instrument)
    if charge.status is SessionStatus.VOID:
        return _("The use of %(instrument)s was cancelled; what was reserved is free again.", instrument=instrument)
    if charge.amount_fen is None or charge.ended_at is None:
        return _(
            "%(instrument)s is in use since %(start)s; %(held)s are reserved and nothing is charged yet.",
            instrument=instrument,
            start=clock_time_text(found.start),
            held=plain_yuan(charge.held_fen),
        )
    return _(
        "%(amount)s charged for %(duration)s on %(instrument)s, from %(start)s to %(end)s.",
        amount=plain_yuan(charge.amount_fen),
        duration=duration(_billed(found)),
        instrument=instrument,
        start=clock_time_text(found.start),
        end=clock_time_text(found.end),
    )


def nothing_billed(charge: CardSession) -> str:
    """Say why a session costs nothing or nothing yet."""
    if charge.status is SessionStatus.REFUSED:
        return ""
    if charge.amount_fen is None:
        return _("Reserved: %(amount)s", amount=plain_yuan(charge.held_fen))
    if charge.tariff_snapshot.get("rules", {}).get("per_sample") and not charge.samples:
        return _("This instrument is charged by the sample, and no samples were entered.")
    return ""


def _billed(found: Evidence) -> timedelta:
    """Give the time that was billed: seconds are dropped from both ends, as the price does, so that the two agree."""
    ended_at = found.start + timedelta(seconds=found.charge.duration_s or 0)
    start, end = (at.replace(second=0, microsecond=0) for at in (found.start, ended_at))
    return max(end - start, timedelta(minutes=1))


def reason(verdict: Verdict | None) -> str:
    """Say why the verdict came out as it did, with the numbers it rests on."""
    if verdict is None:
        return _("The box's readings are compared with the charge within minutes after the session ends.")
    if verdict.verdict is ChargeVerdict.MATCHED and verdict.evidence.get("idle_s", 0) < MINUTE_S:
        return str(ALL_EXPLAINED) % _numbers(verdict)
    if verdict.verdict is ChargeVerdict.NO_EVIDENCE and not verdict.evidence.get("boxes", True):
        return str(NO_BOX)
    return str(REASONS[verdict.verdict]) % _numbers(verdict)


def _numbers(verdict: Verdict) -> dict[str, Any]:
    evidence = verdict.evidence
    own = [run for run in evidence.get("runs", ()) if run.get("own")]
    return {
        "overlap": duration(verdict.overlap_s),
        "idle": duration(evidence.get("idle_s", verdict.charge_only_s)),
        "unpaid": duration(verdict.box_only_s),
        "unknown": duration(evidence.get("unknown_s", 0)),
        "tolerance": duration(verdict.tolerance_s),
        "runs": len(own),
    }


def subsidy(decision: Decision | None, *, verified: bool) -> str:
    """Say what subsidy came of a charge."""
    if decision is None:
        if verified:
            return _("The subsidy is worked out within minutes after the verification.")
        return _("Only a verified use can earn a subsidy.")
    if decision.clawed_back_at is not None:
        return _("A subsidy of %(amount)s was taken back with the charge.", amount=plain_yuan(decision.amount_fen))
    why = labels.find(decision.reason, "decision_reason").word
    if decision.amount_fen == 0:
        return _("This use earned no subsidy: %(reason)s.", reason=why)
    amount = plain_yuan(decision.amount_fen)
    if decision.reason == Reason.GRANTED:
        return _("%(amount)s went back to the card's subsidy balance.", amount=amount)
    return _("%(amount)s went back to the card's subsidy balance: %(reason)s.", amount=amount, reason=why)
