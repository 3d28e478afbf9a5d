"""What a payment service must be able to do, and what it tells us, in our own words."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class GatewayUnknownError(Exception):
    """No answer, or one that decides nothing: it may have happened. Ask again with the same key, or look first."""


class GatewayRefusedError(Exception):
    """A definite no. The same key would hear it again, so another try needs a new attempt; `reason` is for finance."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FactKind(StrEnum):
    """What one message of the payment service says happened."""

    PAID = "paid"
    NOT_PAID_YET = "not_paid_yet"
    PAYMENT_FAILED = "payment_failed"
    CHECKOUT_EXPIRED = "checkout_expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing the payment service says, whether it told us by itself or we looked.

    None stands for what it did not say; nothing is guessed from what we asked for.
    """

    kind: FactKind
    top_up_number: str
    checkout_id: str | None
    payment_intent: str | None
    amount_fen: int | None
    currency: str | None
    livemode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A message of the payment service; `fact` is None if it does not concern us."""

    id: str
    type: str
    created_at: datetime
    api_version: str
    livemode: bool
    payload: dict[str, Any]
    fact: Fact | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutOrder:
    """A payment page somebody wants. The same number and attempt must always carry the same rest."""

    number: str
    attempt: int
    account_id: int
    amount_fen: int
    expires_at: datetime
    return_url: str

    @property
    def idempotency_key(self) -> str:
        """Give the business key under which repeating the order makes no second page."""
        return f"topup:{self.number}:{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A payment page as the payment service describes it; None stands for what it did not say."""

    id: str
    url: str | None
    top_up_number: str | None
    amount_fen: int | None
    currency: str | None
    livemode: bool
    fact: Fact | None


class Gateway(Protocol):
    """A payment service. Every method may raise GatewayUnknownError or GatewayRefusedError."""

    livemode: bool

    def create_checkout(self, order: CheckoutOrder) -> Checkout:
        """Make the payment page of an order, or give the one made before under the same key."""

    def retrieve_checkout(self, checkout_id: str) -> Checkout:
        """Look at a payment page as it stands."""

    def expire_checkout(self, checkout_id: str) -> Checkout:
        """Close a payment page, so that it can no longer be paid."""

    def events_since(self, moment: datetime) -> Iterator[Event]:
        """Give the events created at or after a moment, newest first."""
