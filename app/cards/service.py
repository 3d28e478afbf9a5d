"""Card accounts and cards: opened, issued, shown to their holder, reported lost."""

import re
import secrets
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

import ledger
from app import books, errors
from app.books import Book, BookRole
from app.cards import keys, numbers, uids
from app.cards.models import AccountStatus, Card, CardAccount, CardClass, CardStatus, KeyReason, Project, ProjectLevel
from app.people import passwords
from app.people import service as people
from app.people.models import Organisation, Person
from app.people.principals import Principal
from card_terminal.crypto.keys import UID_BYTES, KeySlot

NUMBER_TRIES = 5
PIN_FORM = re.compile(r"[0-9]{4,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBalances:
    """The money of one card account: what is on each purse, what open holds reserve, and what may be spent."""

    principal_fen: int
    subsidy_fen: int
    held_principal_fen: int
    held_subsidy_fen: int
    debt_fen: int

    @property
    def held_fen(self) -> int:
        """What open holds reserve on both purses."""
        return self.held_principal_fen + self.held_subsidy_fen

    @property
    def available_fen(self) -> int:
        """What a tap could hold now."""
        return self.principal_fen + self.subsidy_fen - self.held_fen


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """A card account with its money and its cards."""

    account: CardAccount
    balances: AccountBalances
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualCard:
    """The secrets of one card, for a card that exists only as a file: for demonstrations and tests."""

    uid: bytes
    face_number: str
    key_version: int
    k_meta: bytes = field(repr=False)
    k_file: bytes = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    """All five, by slot: what a whole chip in software holds."""


def open_account(
    session: Session,
    *,
    person_id: int | None = None,
    organisation_id: int | None = None,
    actor: str,
    at: datetime,
) -> CardAccount:
    """Open a card account for a person or for an organisation, with its books in the ledger.

    Raises Refusal: VALIDATION_FAILED unless exactly one customer is named, NOT_FOUND.
    """
    if (person_id is None) == (organisation_id is None):
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, customer="person_id or organisation_id")
    known = session.get(Person, person_id) if organisation_id is None else session.get(Organisation, organisation_id)
    if known is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    account_id = _insert_with_number(
        session,
        CardAccount,
        "number",
        numbers.new_account_number,
        person_id=person_id,
        organisation_id=organisation_id,
        status=AccountStatus.ACTIVE,
        created_at=at,
    )
    books.open_books(session, books.card_books(account_id))
    account = session.get_one(CardAccount, account_id)
    people.audit(
        session,
        actor=actor,
        action="account.open",
        subject=f"account:{account.number}",
        detail={"person_id": person_id, "organisation_id": organisation_id},
        at=at,
    )
    return account


def issue_card(
    session: Session,
    *,
    account_id: int,
    holder_id: int,
    card_class: CardClass,
    pin: str,
    expires_on: date,
    uid: bytes | None = None,
    takes_uid_cards: bool = False,
    project_id: int | None = None,
    actor: str,
    at: datetime,
) -> Card:
    """Issue a card of an account to a person; `uid` is a secure card's, seven bytes in anticollision order.

    A card of class `ev2` has no chip yet: it is ordered, and a station makes it (see `works.order`). One of class `uid`
    is a card that the holder has from elsewhere, of four or seven bytes; only a site that `takes_uid_cards` binds it.

    Raises Refusal: NOT_FOUND, ACCOUNT_NOT_ACTIVE, VALIDATION_FAILED (class, PIN, UID, project), CODE_TAKEN for the UID.
    """
    account = session.get(CardAccount, account_id)
    if account is None or session.get(Person, holder_id) is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    if account.status is not AccountStatus.ACTIVE:
        raise errors.Refusal(errors.Code.ACCOUNT_NOT_ACTIVE)
    if card_class is CardClass.UID and not takes_uid_cards:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, card_class="this site takes no bare UIDs")
    _check_new_card(session, account_id=account_id, card_class=card_class, uid=uid, project_id=project_id)
    card_id = _insert_with_number(
        session,
        Card,
        "face_number",
        numbers.new_card_number,
        account_id=account_id,
        holder_id=holder_id,
        project_id=project_id,
        card_class=card_class,
        uid=uid,
        status=CardStatus.PREPARING if card_class is CardClass.EV2 else CardStatus.ISSUED,
        pin_hash=pin_hash(pin),
        expires_on=expires_on,
        issued_at=at,
    )
    card = session.get_one(Card, card_id)
    action = "card.order" if card_class is CardClass.EV2 else "card.issue"
    detail = {"class": card_class.value} | ({"uid": uid.hex().upper()} if uid is not None else {})
    audit_card(session, card, action=action, actor=actor, at=at, detail=detail)
    return card


def set_pin(session: Session, *, card_id: int, pin: str, actor: str, at: datetime) -> Card:
    """Give a card a new PIN and its tries back. Raises Refusal: NOT_FOUND, VALIDATION_FAILED."""
    card = locked_card(session, card_id)
    card.pin_hash = pin_hash(pin)
    card.pin_failures = 0
    audit_card(session, card, action="card.set_pin", actor=actor, at=at)
    return card


def report_lost(session: Session, *, card_id: int, reader: Principal, at: datetime) -> Card:
    """Stop a card at once: its holder, its organisation's people or the service center may.

    A session that runs goes on and can end; no new one begins. Raises Refusal NOT_FOUND, also for others' cards.
    """
    card = locked_card(session, card_id)
    account = session.get_one(CardAccount, card.account_id)
    if not (reader.sees_everything or card.holder_id == reader.person_id or _owns(reader, account)):
        raise errors.Refusal(errors.Code.NOT_FOUND)
    if card.status is CardStatus.ISSUED:
        card.status, card.status_at = CardStatus.LOST, at
        card.status_reason = ""
        audit_card(session, card, action="card.lost", actor=reader.username, at=at)
    return card


def stop_tapped(session: Session, *, card_id: int, at: datetime) -> Card:
    """Stop a card that has just proved itself to a phone; doing it again changes nothing. Raises Refusal NOT_FOUND."""
    card = locked_card(session, card_id)
    if card.status is CardStatus.ISSUED:
        card.status, card.status_at, card.status_reason = CardStatus.LOST, at, ""
        audit_card(session, card, action="card.lost", actor="phone", at=at)
    return card


def add_project(
    session: Session,
    *,
    account_id: int,
    title: str,
    level: ProjectLevel,
    evidence_reference: str = "",
    actor: str,
    at: datetime,
) -> Project:
    """Record a project whose tests cards of the account may pay for. Raises Refusal NOT_FOUND."""
    if session.get(CardAccount, account_id) is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    project = Project(account_id=account_id, title=title, level=level, evidence_reference=evidence_reference)
    session.add(project)
    session.flush()
    people.audit(
        session,
        actor=actor,
        action="project.add",
        subject=f"account:{account_id}",
        detail={"project_id": project.id, "level": level.value},
        at=at,
    )
    return project


def account_balances(session: Session, account_ids: list[int]) -> dict[int, AccountBalances]:
    """Give the money of each account, at this moment."""
    found = ledger.balances(session, [book.id for each in account_ids for book in books.card_books(each)])
    return {each: balances_of(each, found) for each in account_ids}


def balances_of(account_id: int, found: dict[Any, ledger.Balances]) -> AccountBalances:
    """Read an account's money from the ledger's sums of its books."""
    principal = found[Book(BookRole.PRINCIPAL, account_id).id]
    subsidy = found[Book(BookRole.SUBSIDY_PURSE, account_id).id]
    debt = found[Book(BookRole.CUSTOMER_DEBT, account_id).id]
    return AccountBalances(
        principal_fen=principal.credit_balance_fen,
        subsidy_fen=subsidy.credit_balance_fen,
        held_principal_fen=principal.debits_pending_fen,
        held_subsidy_fen=subsidy.debits_pending_fen,
        debt_fen=debt.debit_balance_fen,
    )


def accounts_of(session: Session, *, reader: Principal, limit: int = 200, offset: int = 0) -> list[AccountView]:
    """Give the accounts a cardholder may see, with money and cards: her own and her organisation's."""
    return _views(session, own_accounts(reader), limit=limit, offset=offset)


def all_accounts(session: Session, *, limit: int, offset: int = 0) -> list[AccountView]:
    """Give every account with money and cards, for the service center."""
    return _views(session, CardAccount.id.is_not(None), limit=limit, offset=offset)


def account_view(session: Session, *, account_id: int, reader: Principal) -> AccountView:
    """Give one account. Raises Refusal NOT_FOUND, also when it is somebody else's."""
    scope = CardAccount.id.is_not(None) if reader.sees_everything else own_accounts(reader)
    found = _views(session, (CardAccount.id == account_id) & scope, limit=1, offset=0)
    if not found:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return found[0]


def find_account(session: Session, *, number: str) -> AccountView:
    """Give the account with this number, or of the card with this number on its face. Raises Refusal NOT_FOUND."""
    of_card = select(Card.account_id).where(Card.face_number == number)
    found = _views(session, or_(CardAccount.number == number, CardAccount.id.in_(of_card)), limit=1, offset=0)
    if not found:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return found[0]


def personalise_virtual_card(session: Session, *, card_id: int, key_encryption_key: bytes, at: datetime) -> VirtualCard:
    """Give the key material of one secure card, as a personalisation station would write it into the chip.

    For demonstrations and tests, where the chip is a file; a card of class `ev2` gets its chip and is issued.
    Raises Refusal: NOT_FOUND, VALIDATION_FAILED for a card without a chip.
    """
    card = session.get(Card, card_id)
    if card is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    if card.card_class is CardClass.EV2 and card.uid is None:
        # 04 is the maker's byte of the chips whose behaviour these files have.
        card.uid, card.status, card.status_at = b"\x04" + secrets.token_bytes(UID_BYTES - 1), CardStatus.ISSUED, at
    if card.uid is None:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, card="has no chip")
    ring = keys.KeyRing(
        session=session,
        key_encryption_key=key_encryption_key,
        actor="system:virtual_card",
        reason=KeyReason.VIRTUAL_CARD,
        at=at,
    )
    keys.assign(session, uid=card.uid, key_version=card.key_version, key_encryption_key=key_encryption_key, at=at)
    found = {slot: ring.card_key(slot, uid=card.uid, key_version=card.key_version) or b"" for slot in KeySlot}
    return VirtualCard(
        uid=card.uid,
        face_number=card.face_number,
        key_version=card.key_version,
        k_meta=found[KeySlot.META_READ],
        k_file=found[KeySlot.SUN_MAC],
        keys=tuple(found[slot] for slot in KeySlot),
    )


def _views(session: Session, criterion: ColumnElement[bool], *, limit: int, offset: int) -> list[AccountView]:
    query = (
        select(CardAccount)
        .where(criterion)
        .options(joinedload(CardAccount.person), joinedload(CardAccount.organisation))
        .order_by(CardAccount.number)
    )
    accounts = session.scalars(query.limit(limit).offset(offset)).all()
    ids = [account.id for account in accounts]
    cards = session.scalars(
        select(Card).where(Card.account_id.in_(ids)).options(joinedload(Card.holder)).order_by(Card.face_number)
    ).all()
    money = account_balances(session, ids)
    return [
        AccountView(
            account=account,
            balances=money[account.id],
            cards=tuple(card for card in cards if card.account_id == account.id),
        )
        for account in accounts
    ]


def own_accounts(reader: Principal) -> ColumnElement[bool]:
    """Select the accounts of a person and of her organisation, and no others."""
    own = CardAccount.person_id == reader.person_id
    if reader.organisation_id is None:
        return own
    return or_(own, CardAccount.organisation_id == reader.organisation_id)


def _owns(reader: Principal, account: CardAccount) -> bool:
    if account.person_id is not None:
        return account.person_id == reader.person_id
    return account.organisation_id == reader.organisation_id


def locked_card(session: Session, card_id: int) -> Card:
    """Give a card, locked for a change. Raises Refusal NOT_FOUND."""
    card = session.get(Card, card_id, with_for_update={"key_share": True}, populate_existing=True)
    if card is None:
        raise errors.Refusal(errors.Code.NOT_FOUND)
    return card


def _check_new_card(
    session: Session, *, account_id: int, card_class: CardClass, uid: bytes | None, project_id: int | None
) -> None:
    uids.check(uid, card_class=card_class)
    if uid is not None and session.scalar(select(Card.id).where(Card.uid == uid)) is not None:
        raise errors.Refusal(errors.Code.CODE_TAKEN, uid=uid.hex().upper())
    if project_id is not None:
        project = session.get(Project, project_id)
        if project is None or project.account_id != account_id:
            raise errors.Refusal(errors.Code.VALIDATION_FAILED, project_id="not a project of this account")


def pin_hash(pin: str) -> str:
    """Give the hash to keep of a new PIN. Raises Refusal VALIDATION_FAILED for one that is easy to guess."""
    if PIN_FORM.fullmatch(pin) is None or len(set(pin)) == 1:
        raise errors.Refusal(errors.Code.VALIDATION_FAILED, pin="4 to 12 digits, not all the same")
    return passwords.hash_password(pin)


def _insert_with_number(session: Session, table: Any, column: str, new_number: Any, **values: Any) -> int:
    """Insert with a fresh random number; that one is taken happens once in 10^11 cards, twice never."""
    for _ in range(NUMBER_TRIES):
        made = session.scalar(
            insert(table)
            .values({column: new_number(), **values})
            .on_conflict_do_nothing(index_elements=[getattr(table, column)])
            .returning(table.id)
        )
        if made is not None:
            return int(made)
    raise AssertionError("no free number among so many")


def audit_card(
    session: Session, card: Card, *, action: str, actor: str, at: datetime, detail: dict[str, Any] | None = None
) -> None:
    """Write down what was done to a card, under the part of its number that may be shown."""
    people.audit(
        session,
        actor=actor,
        action=action,
        subject=f"card:{numbers.masked_number(card.face_number)}",
        detail={"card_id": card.id, **(detail or {})},
        at=at,
    )
