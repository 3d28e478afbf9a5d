"""Policies: every version with its two people, a new draft, and the decision on one."""

from typing import Any

from flask import flash, g, redirect, render_template, request, url_for

from app import clock, web
from app.asking import given_whole
from app.errors import Code, Refusal
from app.people.models import Role
from app.reconciliation import policies
from app.reconciliation.pages.common import (
    DECIDERS,
    SECTION,
    STAFF,
    blueprint,
    decider,
    given_day,
    given_note,
    read_amount,
    zone,
)
from app.reconciliation.policies import Do
from app.security import principal, require
from app.texts import _


@blueprint.get("/reconciliation-policies")
@require(*STAFF)
def policy_list() -> Any:
    """List every version of every policy, and offer a new draft."""
    g.section = SECTION
    with web.database().reader() as session:
        found = policies.list_policies(session, reader=principal())
        return render_template(
            "reconciliation/policies.html",
            policies=[(policy, policies.parse(policy.body)) for policy in found],
            verdicts=policies.EXCEPTIONAL,
            refundable=policies.REFUNDABLE,
            steps=tuple(Do),
            sub_centers=policies.sub_centers_of(session, reader=decider()),
            shipped=policies.SHIPPED,
            at=clock.now(),
        )


@blueprint.post("/reconciliation-policies")
@require(*DECIDERS)
def draft_policy() -> Any:
    """Draft a policy; another person publishes it."""
    body = {
        "verdicts": {verdict.value: _step(verdict.value) for verdict in policies.EXCEPTIONAL},
        "contest_days": given_whole("contest_days"),
        "answer_days": given_whole("answer_days"),
    }
    valid_from, note, maker, at = given_day("valid_from", zone=zone()), given_note(), decider(), clock.now()
    if valid_from is None:
        raise AssertionError("a required day is there")
    sub_center_id = given_whole("sub_center") or None
    web.database().run(
        lambda session: policies.draft(
            session, body=body, sub_center_id=sub_center_id, valid_from=valid_from, note=note, maker=maker, at=at
        )
    )
    flash(_("The policy waits for a second person."), "good")
    return redirect(url_for("reconciliation_pages.policy_list"))


@blueprint.post("/reconciliation-policies/<int:policy_id>")
@require(Role.APPROVER, *DECIDERS)
def decide_policy(policy_id: int) -> Any:
    """Publish a policy, decline it, or take one's own draft back."""
    act, person, at = request.form.get("act", ""), principal(), clock.now()
    if act == "withdraw":
        web.database().run(lambda session: policies.withdraw(session, policy_id=policy_id, maker=person, at=at))
        flash(_("The draft is withdrawn."), "good")
    elif act in {"publish", "decline"}:
        if not person.has(Role.APPROVER):
            raise Refusal(Code.FORBIDDEN)
        web.database().run(
            lambda session: policies.decide(
                session, policy_id=policy_id, approve=act == "publish", checker=person, at=at
            )
        )
        flash(_("The policy is published.") if act == "publish" else _("The draft is declined."), "good")
    else:
        raise Refusal(Code.VALIDATION_FAILED, fields={"act": ["publish, decline, withdraw"]})
    return redirect(url_for("reconciliation_pages.policy_list"))


def _step(name: str) -> dict[str, Any]:
    do = request.form.get(f"do-{name}", Do.REVIEW.value)
    if do != Do.REFUND:
        return {"do": do}
    limit = request.form.get(f"limit-{name}", "")
    return {
        "do": do,
        "refund_percent": given_whole(f"percent-{name}"),
        "wait_h": given_whole(f"wait-{name}"),
        **({"amount_fen_max": read_amount(limit, name=f"limit-{name}")} if limit.strip() else {}),
    }
