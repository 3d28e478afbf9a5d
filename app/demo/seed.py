"""A small Chongqing as rows: done once on an empty database, through the services that staff would use."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import books
from app.cards import service as cards
from app.cards.models import Card, CardAccount, CardClass, Project, ProjectLevel
from app.devices import service as devices
from app.devices.boxes import enrolment
from app.instruments import service as instruments
from app.instruments.models import CustomerClass, Instrument, InstrumentGroup, SubCenter
from app.instruments.published import published_prices
from app.people import service as people
from app.people.models import OrganisationKind, Role
from app.people.principals import Principal
from app.reconciliation import policies
from app.settings import Settings
from app.subsidies import funds, publishing
from app.topups import service as top_ups
from app.topups.models import TopUpMethod
from telemetry import boxes, calibration
from telemetry.box import programme
from telemetry.states import Calibration

ACTOR = "system:demonstration"
PASSWORD = "try-the-test-card"  # noqa: S105 - printed for everybody who tries the demonstration
PIN = "246810"
FUND = {"code": "CQ", "name_zh": "重庆市大型仪器共享补贴资金", "name_en": "Chongqing sharing subsidy fund"}
FUND_FEN = 2_000_000_00
RULE_SET = "CQ-CARD"
CARD_LIFE_YEARS = 5
CALIBRATION_DAYS = 7
MARGIN_S = 1_500
# So much simulated time passes before the first run that service, terminals and visitors are up by then.
LEAD = timedelta(minutes=15)
RUN_S_MIN, RUN_S_MAX = 500, 7_200
FEN = 100


@dataclass(slots=True)
class Seeded:
    """What was made, by the names in chongqing.json: what the simulated people, boxes and terminals need to know."""

    groups: dict[str, InstrumentGroup] = field(default_factory=dict)
    organisations: dict[str, int] = field(default_factory=dict)
    staff: dict[str, Principal] = field(default_factory=dict)
    boxes: list[dict[str, Any]] = field(default_factory=list)
    terminals: list[dict[str, Any]] = field(default_factory=list)
    cards: list[dict[str, Any]] = field(default_factory=list)


def chongqing() -> dict[str, Any]:
    """Give the demonstration's people and instruments."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "chongqing.json").read_text(encoding="utf-8"))
    return content


def is_seeded(session: Session) -> bool:
    """Say whether the database has been filled before."""
    return session.scalar(select(SubCenter.id).limit(1)) is not None


def seed(session: Session, *, settings: Settings, at: datetime) -> Seeded:
    """Fill an empty database; all or nothing."""
    data, made = chongqing(), Seeded()
    books.open_books(session, books.center_books())
    _units(session, data, made, at=at)
    _staff(session, data, made, at=at)
    _instruments(session, data, made, at=at)
    _fund(session, made, at=at)
    _policy(session, data, made, at=at)
    for customer in data["customers"]:
        _customer(session, customer, made, settings=settings, at=at)
    return made


def _units(session: Session, data: Mapping[str, Any], made: Seeded, *, at: datetime) -> None:
    sub_centers = {
        each["code"]: instruments.create_sub_center(
            session, code=each["code"], name_zh=each["zh"], name_en=each["en"], actor=ACTOR, at=at
        )
        for each in data["sub_centers"]
    }
    for each in data["organisations"]:
        made.organisations[each["code"]] = _organisation(session, each, region=each["region"], at=at)
    for each in data["units"]:
        made.organisations[each["code"]] = _organisation(
            session, {**each, "network_member": True}, region="重庆", at=at
        )
        home = sub_centers.get(each["sub_center"])
        unit = instruments.create_unit(
            session,
            code=each["code"],
            name_zh=each["zh"],
            name_en=each["en"],
            organisation_id=made.organisations[each["code"]],
            sub_center_id=None if home is None else home.id,
            service_fee_basis_points=each["fee_bp"],
            vat_basis_points=each["vat_bp"],
            actor=ACTOR,
            at=at,
        )
        for group in each["groups"]:
            made.groups[each["code"]] = instruments.create_group(
                session, unit_id=unit.id, name_zh=group["zh"], name_en=group["en"], actor=ACTOR, at=at
            )


def _organisation(session: Session, each: Mapping[str, Any], *, region: str, at: datetime) -> int:
    return people.create_organisation(
        session,
        name_zh=each["zh"],
        name_en=each["en"],
        kind=OrganisationKind(each["kind"]),
        region=region,
        network_member=each.get("network_member", False),
        actor=ACTOR,
        at=at,
    ).id


def _staff(session: Session, data: Mapping[str, Any], made: Seeded, *, at: datetime) -> None:
    for each in data["staff"]:
        role = Role(each["role"])
        grant: dict[str, Any] = {"role": role}
        if role is Role.SUB_CENTER_MANAGER:
            grant["sub_center_id"] = session.scalars(
                select(SubCenter.id).where(SubCenter.code == each["sub_center"])
            ).one()
        if role is Role.GROUP_OPERATOR:
            grant["group_id"] = made.groups[each["unit"]].id
        made.staff[each["username"]] = people.create_person_with_roles(
            session, username=each["username"], name=each["name"], password=PASSWORD, grants=[grant], actor=ACTOR, at=at
        )


def _instruments(session: Session, data: Mapping[str, Any], made: Seeded, *, at: datetime) -> None:
    for number, each in enumerate(data["instruments"], start=1):
        instrument = instruments.create_instrument(
            session,
            code=f"CQ{number:04d}",
            name_zh=each["zh"],
            name_en=each["en"],
            group_id=made.groups[each["unit"]].id,
            instrument_class=each["class"],
            value_fen=each["value_yuan"] * FEN,
            actor=ACTOR,
            at=at,
        )
        _tariffs(session, instrument, price=each["price"], at=at)
        if each["listed"]:
            instruments.list_as_collaborative(
                session, instrument_id=instrument.id, valid_from=_long_ago(at), actor=ACTOR, at=at
            )
        if "trace" in each:
            _box(session, instrument, trace=each["trace"], made=made, at=at)


def _tariffs(session: Session, instrument: Instrument, *, price: str, at: datetime) -> None:
    published = published_prices()[price]
    for tariff in published.tariffs:
        instruments.set_tariff(
            session,
            instrument_id=instrument.id,
            customer_class=None if tariff.customer_class is None else CustomerClass(tariff.customer_class),
            valid_from=_long_ago(at),
            rules=tariff.rules,
            source=f"{published.source}, {published.instrument}",
            actor=ACTOR,
            at=at,
        )


def _box(session: Session, instrument: Instrument, *, trace: str, made: Seeded, at: datetime) -> None:
    """Put a collector box and a terminal at an instrument; the box is calibrated on the trace's first week."""
    code = f"BOX-{instrument.code}"
    boxes.enrol(session, code=code, channels=1, at=at)
    boxes.set_calibration(session, code=code, channel=0, calibration=_calibration(trace), at=_long_ago(at))
    enrolment.place_box(session, box=code, channel=0, instrument_id=instrument.id, actor=ACTOR, at=at)
    number = len(made.boxes)
    slices = _slices(trace)
    turn = number * 3 % len(slices)
    made.boxes.append(
        {
            "code": code,
            "instrument": instrument.code,
            "trace": trace,
            # Every box begins elsewhere in the trace, so that not all instruments do the same at the same time.
            "slices": [*slices[turn:], *slices[:turn]],
            "starts_at": (at + LEAD - timedelta(seconds=number * 97)).isoformat(),
        }
    )
    terminal = devices.create_terminal(
        session, code=f"T-{instrument.code}", instrument_id=instrument.id, actor=ACTOR, at=at
    )
    made.terminals.append(
        {
            "code": f"T-{instrument.code}",
            "id": str(terminal.terminal.id),
            "instrument": instrument.code,
            "visits_follow": code,
            "enrolment_code": terminal.code,
        }
    )


def _slices(trace: str) -> list[tuple[int, int]]:
    """Cut a trace to runs of minutes to two hours with 25 minutes around: nobody wants to watch a night."""
    runs = [run for run in programme.reference_runs(trace) if RUN_S_MIN <= run[1] - run[0] <= RUN_S_MAX]
    return [(start_s - MARGIN_S, end_s + MARGIN_S) for start_s, end_s in runs]


@cache
def _calibration(trace: str) -> Calibration:
    week_ms = CALIBRATION_DAYS * 24 * 3600 * 1000
    readings = list(programme.load(trace).readings())
    found = calibration.calibrate(reading for reading in readings if reading.start_ms < readings[0].start_ms + week_ms)
    if isinstance(found, calibration.CalibrationRefusal):
        raise TypeError(f"the trace {trace} cannot be calibrated: {found}")
    return found


def _fund(session: Session, made: Seeded, *, at: datetime) -> None:
    finance = made.staff["finance"]
    fund = funds.create_fund(session, **FUND, budget_fen_per_year=FUND_FEN, actor=finance.username, at=at)
    funds.receive_money(
        session, fund_id=fund.id, amount_fen=FUND_FEN, reference="渝财教〔2026〕1号", actor=finance.username, at=at
    )
    publishing.publish_shipped(session, code=RULE_SET, fund_id=fund.id, valid_from=_long_ago(at), actor=ACTOR, at=at)


def _policy(session: Session, data: Mapping[str, Any], made: Seeded, *, at: datetime) -> None:
    """Say what follows from each verdict, as one person drafts and another publishes it; it holds from now on."""
    drafted = policies.draft(
        session,
        body=data["policy"],
        sub_center_id=None,
        valid_from=at,
        note=data["policy"]["source"],
        maker=made.staff["admin"],
        at=at,
    )
    policies.decide(session, policy_id=drafted.id, approve=True, checker=made.staff["approver"], at=at)


def _customer(session: Session, each: Mapping[str, Any], made: Seeded, *, settings: Settings, at: datetime) -> None:
    organisation_id = made.organisations.get(each.get("organisation", ""))
    person = people.create_person_with_roles(
        session,
        username=each["username"],
        name=each["name"],
        password=PASSWORD,
        organisation_id=organisation_id,
        grants=[{"role": Role.CARDHOLDER}],
        actor=ACTOR,
        at=at,
    )
    account = _account(session, organisation_id=organisation_id, person_id=person.person_id, at=at)
    project = _project(session, account, each, at=at)
    kind = CardClass(each["class"])
    card = cards.issue_card(
        session,
        account_id=account.id,
        holder_id=person.person_id,
        card_class=kind,
        pin=PIN,
        expires_on=date(at.year + CARD_LIFE_YEARS, 12, 31),
        # 04 is the maker's byte of the chips whose behaviour these files have.
        uid=b"\x04" + secrets.token_bytes(6) if kind is CardClass.SUN else None,
        project_id=None if project is None else project.id,
        actor=ACTOR,
        at=at,
    )
    made.cards.append(
        {
            "name": each["username"].replace(".", "-"),
            "pin": PIN,
            "account_id": account.id,
            "file": {
                **_card_file(session, card, settings=settings, at=at),
                "label": f"{each['name']} {card.face_number}",
            },
        }
    )
    if each["top_up_yuan"]:
        _top_up(session, account, amount_fen=each["top_up_yuan"] * FEN, made=made, settings=settings, at=at)


def _card_file(session: Session, card: Card, *, settings: Settings, at: datetime) -> dict[str, Any]:
    """Give the card as the simulated reader knows it: a whole chip, one that only writes its message, or a number."""
    if card.card_class is CardClass.TYPED:
        return {"class": "typed", "number": card.face_number}
    made = cards.personalise_virtual_card(
        session, card_id=card.id, key_encryption_key=settings.key_encryption_key, at=at
    )
    file = {"class": card.card_class.value, "uid": made.uid.hex().upper(), "base_uri": f"{settings.public_url}/c"}
    if card.card_class is CardClass.SUN:
        return {**file, "k_meta": made.k_meta.hex(), "k_file": made.k_file.hex()}
    return {**file, "keys": [key.hex() for key in made.keys], "key_version": made.key_version}


def _account(session: Session, *, organisation_id: int | None, person_id: int, at: datetime) -> CardAccount:
    if organisation_id is None:
        return cards.open_account(session, person_id=person_id, actor=ACTOR, at=at)
    known = session.scalar(select(CardAccount).where(CardAccount.organisation_id == organisation_id))
    return known or cards.open_account(session, organisation_id=organisation_id, actor=ACTOR, at=at)


def _project(session: Session, account: CardAccount, each: Mapping[str, Any], *, at: datetime) -> Project | None:
    if "project" not in each:
        return None
    return cards.add_project(
        session,
        account_id=account.id,
        title=each["project"]["title"],
        level=ProjectLevel(each["project"]["level"]),
        evidence_reference=each["project"]["evidence"],
        actor=ACTOR,
        at=at,
    )


def _top_up(
    session: Session, account: CardAccount, *, amount_fen: int, made: Seeded, settings: Settings, at: datetime
) -> None:
    wish = top_ups.Wish(
        id=uuid4(),
        account_id=account.id,
        amount_fen=amount_fen,
        method=TopUpMethod.BANK_TRANSFER,
        bank_reference=f"ICBC-{account.number}-{secrets.token_hex(3).upper()}",
    )
    top_ups.begin_counter_top_up(session, wish=wish, maker=made.staff["clerk"], settings=settings, at=at)
    top_ups.decide(session, top_up_id=wish.id, approve=True, checker=made.staff["approver"], at=at)


def _long_ago(at: datetime) -> datetime:
    return at - timedelta(days=365)
