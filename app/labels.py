"""The words people read for the values programs keep, and the tone in which a page shows them."""

from dataclasses import dataclass
from enum import StrEnum

from app.texts import Sentence, _l


@dataclass(frozen=True, slots=True)
class Label:
    """A word in the reader's language; tone is good, warn, bad, unknown, or nothing for a plain fact."""

    word: Sentence
    tone: str = ""


# Keyed by kind, then by the value as the database keeps it, so that templates need no enum.
LABELS: dict[str, dict[str, Label]] = {
    "role": {
        "cardholder": Label(_l("Cardholder")),
        "group_operator": Label(_l("Group operator")),
        "sub_center_manager": Label(_l("Sub-center manager")),
        "clerk": Label(_l("Center clerk")),
        "approver": Label(_l("Center approver")),
        "finance": Label(_l("Center finance")),
        "auditor": Label(_l("Center auditor")),
        "admin": Label(_l("Center administrator")),
    },
    "state": {
        "running": Label(_l("Running"), "good"),
        "standby": Label(_l("Standby"), "warn"),
        "off": Label(_l("Off")),
        "unknown": Label(_l("Unknown"), "unknown"),
    },
    "session": {
        "held": Label(_l("Reserved"), "warn"),
        "active": Label(_l("In use"), "good"),
        "stale": Label(_l("Overdue"), "bad"),
        "captured": Label(_l("Charged"), "good"),
        "void": Label(_l("Cancelled")),
        "auto_ended": Label(_l("Closed by itself"), "warn"),
        "refused": Label(_l("Refused"), "bad"),
    },
    "verdict": {
        "matched": Label(_l("Verified"), "good"),
        "matched_split": Label(_l("Verified, several runs"), "good"),
        "matched_shared": Label(_l("Verified, shared run"), "good"),
        "over_charged": Label(_l("Charged longer than used"), "bad"),
        "under_charged": Label(_l("Used longer than charged"), "warn"),
        "phantom": Label(_l("Charged, nothing ran"), "bad"),
        "no_evidence": Label(_l("Box was silent"), "unknown"),
        "box_suspect": Label(_l("Box readings doubtful"), "unknown"),
        "provisional": Label(_l("Waiting for the box"), "warn"),
        "exempt": Label(_l("Nothing to compare")),
        "waiting": Label(_l("Not yet reconciled")),
    },
    "box_verdict": {
        "covered": Label(_l("Paid"), "good"),
        "unpaid": Label(_l("Nobody paid"), "bad"),
        "unpaid_head": Label(_l("Ran before the card"), "warn"),
        "unpaid_tail": Label(_l("Ran on after the card"), "warn"),
        "below_minimum": Label(_l("Too short to count")),
        "box_suspect": Label(_l("Box readings doubtful"), "unknown"),
        "provisional": Label(_l("Waiting for the box"), "warn"),
    },
    "review": {
        "verified": Label(_l("Verified by hand"), "good"),
        "upheld": Label(_l("Left unverified"), "warn"),
    },
    "decision": {
        "granted": Label(_l("Granted"), "good"),
        "zero": Label(_l("Nothing granted")),
        "clawed_back": Label(_l("Taken back"), "bad"),
    },
    "decision_reason": {
        "granted": Label(_l("all conditions are met")),
        "capped": Label(_l("a limit cut the amount")),
        "fund_last": Label(_l("it is the last of the fund")),
        "own_unit": Label(_l("use of the own unit's instrument")),
        "related_party": Label(_l("customer and unit are related")),
        "statutory_test": Label(_l("a test that the law demands")),
        "not_verified": Label(_l("the use is not verified")),
        "not_eligible": Label(_l("a condition of the rules is not met")),
        "used_before": Label(_l("it was claimed for before")),
        "no_tier": Label(_l("no rate of the rules fits")),
        "nothing_paid": Label(_l("no principal was paid")),
        "cap_reached": Label(_l("a limit is reached already")),
        "fund_empty": Label(_l("the fund is empty")),
        "waiting": Label(_l("the fund is empty; it is on the waiting list")),
    },
    "card": {
        "issued": Label(_l("In order"), "good"),
        "lost": Label(_l("Reported lost"), "bad"),
        "blocked": Label(_l("Blocked"), "bad"),
        "replaced": Label(_l("Replaced")),
    },
    "account": {
        "active": Label(_l("Active"), "good"),
        "frozen": Label(_l("Frozen"), "bad"),
        "closed": Label(_l("Closed")),
    },
    "top_up": {
        "awaiting_approval": Label(_l("Waiting for approval"), "warn"),
        "awaiting_payment": Label(_l("Waiting for payment"), "warn"),
        "credited": Label(_l("Credited"), "good"),
        "rejected": Label(_l("Rejected"), "bad"),
        "expired": Label(_l("Expired")),
        "failed": Label(_l("Failed"), "bad"),
    },
    "method": {
        "cash": Label(_l("Cash")),
        "bank_transfer": Label(_l("Bank transfer")),
        "online": Label(_l("Online")),
    },
    "customer_class": {
        "own_unit": Label(_l("Own unit")),
        "academic": Label(_l("Universities and institutes")),
        "company": Label(_l("Companies")),
        "outside_region": Label(_l("Outside the region")),
        "all": Label(_l("Everyone")),
    },
    "project_level": {
        "none": Label(_l("no project")),
        "enterprise": Label(_l("enterprise R&D project")),
        "municipal": Label(_l("municipal project")),
        "national": Label(_l("national project")),
    },
    "purse": {
        "subsidy": Label(_l("Subsidy balance")),
        "principal": Label(_l("Principal")),
    },
    "quality": {
        "good": Label(_l("complete")),
        "inferred": Label(_l("a gap filled from the energy counter")),
        "gaps": Label(_l("with gaps")),
        "clock": Label(_l("box clock was off")),
        "cut": Label(_l("cut off by silence")),
    },
    "instrument_class": {
        "spectroscopy": Label(_l("Spectroscopy")),
        "diffraction": Label(_l("Diffraction")),
        "physics": Label(_l("Physical properties")),
        "microscopy": Label(_l("Microscopy")),
        "chromatography": Label(_l("Chromatography")),
        "mass_spectrometry": Label(_l("Mass spectrometry")),
        "mechanics": Label(_l("Mechanics")),
        "thermal": Label(_l("Thermal analysis")),
        "particles": Label(_l("Particles")),
        "biology": Label(_l("Biology")),
        "chemistry": Label(_l("Chemistry")),
        "metrology": Label(_l("Metrology")),
        "environment": Label(_l("Environmental tests")),
        "electronics": Label(_l("Electronics")),
    },
    "posting": {
        "hold": Label(_l("Reserved")),
        "post": Label(_l("Charged")),
        "void": Label(_l("Set free")),
        "101": Label(_l("Top-up")),
        "102": Label(_l("Receipt seen at the bank")),
        "103": Label(_l("Receipt not yet identified")),
        "104": Label(_l("Debt repaid")),
        "202": Label(_l("Service fee")),
        "203": Label(_l("VAT")),
        "204": Label(_l("Charged late")),
        "301": Label(_l("Fiscal money received")),
        "302": Label(_l("Subsidy")),
        "303": Label(_l("Subsidy taken back")),
        "401": Label(_l("Manual voucher")),
    },
    "journal": {
        "session_hold": Label(_l("Amount reserved for a use")),
        "session_void": Label(_l("Reserved amount set free")),
        "session_capture": Label(_l("Use of an instrument")),
        "subsidy_granted": Label(_l("Subsidy")),
        "subsidy_clawed_back": Label(_l("Subsidy taken back")),
        "top_up_cash": Label(_l("Top-up in cash")),
        "top_up_bank_transfer": Label(_l("Top-up by bank transfer")),
        "top_up_online": Label(_l("Top-up online")),
        "unidentified_receipt": Label(_l("Receipt not yet identified")),
        "fund_received": Label(_l("Fiscal money received")),
        "manual_voucher": Label(_l("Manual voucher")),
        "reversal": Label(_l("Reversal")),
    },
    "draft_kind": {
        "manual": Label(_l("Manual voucher")),
        "reversal": Label(_l("Reversal")),
    },
    "draft": {
        "waiting": Label(_l("Waiting for approval"), "warn"),
        "posted": Label(_l("Posted"), "good"),
        "rejected": Label(_l("Rejected"), "bad"),
        "withdrawn": Label(_l("Withdrawn")),
        "refused": Label(_l("Refused by the ledger"), "bad"),
    },
    "ledger_refusal": {
        "exceeds_credits": Label(_l("an account would have fallen below zero")),
        "exceeds_debits": Label(_l("an account would have fallen below zero")),
        "debit_account_already_closed": Label(_l("an account is closed")),
        "credit_account_already_closed": Label(_l("an account is closed")),
        "period_closed": Label(_l("the month of the value date is closed")),
        "journal_already_reversed": Label(_l("it was reversed before")),
    },
    "month": {
        "running": Label(_l("Not over yet")),
        "open": Label(_l("Not closed yet"), "warn"),
        "closed": Label(_l("Month closed"), "good"),
        "reopening_asked": Label(_l("Reopening asked for"), "warn"),
    },
    "month_step": {
        "closed": Label(_l("Closed the month")),
        "reopening_asked": Label(_l("Asked to reopen")),
        "reopened": Label(_l("Reopened the month")),
    },
    "element": {
        "asset": Label(_l("Asset")),
        "liability": Label(_l("Liability")),
        "income": Label(_l("Income")),
        "expense": Label(_l("Expense")),
    },
    "owner": {
        "center": Label(_l("Service center")),
        "card": Label(_l("Card account")),
        "unit": Label(_l("Unit")),
        "fund": Label(_l("Fund")),
    },
    "check": {
        "zero_sum": Label(_l("All debits equal all credits")),
        "charges": Label(_l("Charges on the cards equal what units earned in the ledger")),
        "fiscal": Label(_l("Fiscal money equals funds, subsidy balances and spent subsidy")),
    },
    "level": {
        "sub_center": Label(_l("Sub-center")),
        "unit": Label(_l("Unit")),
        "group": Label(_l("Group")),
        "instrument": Label(_l("Instrument")),
    },
    "terminal": {
        "pending": Label(_l("Waiting for enrolment"), "warn"),
        "enrolled": Label(_l("Enrolled"), "good"),
        "revoked": Label(_l("Revoked"), "bad"),
    },
    "flag": {
        "lower_bound": Label(_l("a restart of the terminal hid part of the time"), "warn"),
        "auto_ended": Label(_l("nobody tapped out; the reserved time was charged"), "warn"),
        "over_hold": Label(_l("worth more than was reserved; only that was charged"), "warn"),
        "implausible_duration": Label(
            _l("the terminal reported too much time; only what had passed was charged"), "warn"
        ),
        "closed_by_staff": Label(_l("ended by the staff of the instrument"), "warn"),
        "samples_assumed": Label(_l("nobody said how many samples; one was charged"), "warn"),
        "hold_expired": Label(_l("the reservation had run out before the end"), "warn"),
    },
}


def find(value: StrEnum | str | None, kind: str) -> Label:
    """Give the label of a value; a value without one (newer than this page) is shown as it is."""
    text = "" if value is None else str(value)
    return LABELS[kind].get(text) or Label(_l("%(text)s", text=text.replace("_", " ")))
