"""Every answer the ledger can give, in order of precedence: code, one sentence, and whether a new attempt may help.

Names and precedence are TigerBeetle's (docs.tigerbeetle.com, create_accounts and create_transfers); what concerns
imports is left out, because opening balances are ordinary journals with a value date.
"""

from enum import StrEnum
from typing import Self


class Status(StrEnum):
    """A closed list of answers. `passing` says that the same wish under a *new* id may succeed later."""

    sentence: str
    passing: bool

    def __new__(cls, code: str, sentence: str, passing: bool = False) -> Self:  # noqa: FBT001, FBT002 - enum members are written as tuples
        """Make a member that is its code and carries its sentence."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        member.passing = passing
        return member


class CreateAccountStatus(Status):
    """What may become of a new account."""

    CREATED = "created", "The account was made."
    LINKED_EVENT_FAILED = "linked_event_failed", "Another account of the same linked chain was refused."
    LINKED_EVENT_CHAIN_OPEN = "linked_event_chain_open", "The last account of the batch says that a chain goes on."
    RESERVED_FLAG = "reserved_flag", "A flag is set that has no meaning."
    ID_MUST_NOT_BE_ZERO = "id_must_not_be_zero", "The id is zero."
    ID_MUST_NOT_BE_INT_MAX = "id_must_not_be_int_max", "The id is the greatest possible number, which is reserved."
    EXISTS_WITH_DIFFERENT_FLAGS = "exists_with_different_flags", "The account exists with other flags."
    EXISTS_WITH_DIFFERENT_USER_DATA_128 = (
        "exists_with_different_user_data_128",
        "The account exists with another user_data_128.",
    )
    EXISTS_WITH_DIFFERENT_USER_DATA_64 = (
        "exists_with_different_user_data_64",
        "The account exists with another user_data_64.",
    )
    EXISTS_WITH_DIFFERENT_USER_DATA_32 = (
        "exists_with_different_user_data_32",
        "The account exists with another user_data_32.",
    )
    EXISTS_WITH_DIFFERENT_LEDGER = "exists_with_different_ledger", "The account exists in another ledger."
    EXISTS_WITH_DIFFERENT_CODE = "exists_with_different_code", "The account exists with another code."
    EXISTS = "exists", "The same account exists already."
    FLAGS_ARE_MUTUALLY_EXCLUSIVE = "flags_are_mutually_exclusive", "These flags exclude each other."
    LEDGER_MUST_NOT_BE_ZERO = "ledger_must_not_be_zero", "The account names no ledger."
    CODE_MUST_NOT_BE_ZERO = "code_must_not_be_zero", "The account names no code."


class CreateTransferStatus(Status):
    """What may become of a new transfer."""

    CREATED = "created", "The transfer was made."
    LINKED_EVENT_FAILED = "linked_event_failed", "Another transfer of the same linked chain was refused."
    LINKED_EVENT_CHAIN_OPEN = "linked_event_chain_open", "The last transfer of the batch says that a chain goes on."
    RESERVED_FLAG = "reserved_flag", "A flag is set that has no meaning."
    ID_MUST_NOT_BE_ZERO = "id_must_not_be_zero", "The id is zero."
    ID_MUST_NOT_BE_INT_MAX = "id_must_not_be_int_max", "The id is the greatest possible number, which is reserved."
    EXISTS_WITH_DIFFERENT_FLAGS = "exists_with_different_flags", "The transfer exists with other flags."
    EXISTS_WITH_DIFFERENT_PENDING_ID = (
        "exists_with_different_pending_id",
        "The transfer exists and ended another pending transfer.",
    )
    EXISTS_WITH_DIFFERENT_TIMEOUT = "exists_with_different_timeout", "The transfer exists with another timeout."
    EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID = (
        "exists_with_different_debit_account_id",
        "The transfer exists with another debit account.",
    )
    EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID = (
        "exists_with_different_credit_account_id",
        "The transfer exists with another credit account.",
    )
    EXISTS_WITH_DIFFERENT_AMOUNT = "exists_with_different_amount", "The transfer exists with another amount."
    EXISTS_WITH_DIFFERENT_USER_DATA_128 = (
        "exists_with_different_user_data_128",
        "The transfer exists with another user_data_128.",
    )
    EXISTS_WITH_DIFFERENT_USER_DATA_64 = (
        "exists_with_different_user_data_64",
        "The transfer exists with another user_data_64.",
    )
    EXISTS_WITH_DIFFERENT_USER_DATA_32 = (
        "exists_with_different_user_data_32",
        "The transfer exists with another user_data_32.",
    )
    EXISTS_WITH_DIFFERENT_LEDGER = "exists_with_different_ledger", "The transfer exists in another ledger."
    EXISTS_WITH_DIFFERENT_CODE = "exists_with_different_code", "The transfer exists with another code."
    EXISTS = "exists", "The same transfer exists already."
    ID_ALREADY_FAILED = "id_already_failed", "This id was refused before and can never succeed; use a new one.", True
    FLAGS_ARE_MUTUALLY_EXCLUSIVE = "flags_are_mutually_exclusive", "These flags exclude each other."
    DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO = "debit_account_id_must_not_be_zero", "The transfer names no debit account."
    DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX = (
        "debit_account_id_must_not_be_int_max",
        "The debit account's id is the greatest possible number, which is reserved.",
    )
    CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO = "credit_account_id_must_not_be_zero", "The transfer names no credit account."
    CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX = (
        "credit_account_id_must_not_be_int_max",
        "The credit account's id is the greatest possible number, which is reserved.",
    )
    ACCOUNTS_MUST_BE_DIFFERENT = "accounts_must_be_different", "An account cannot pay itself."
    PENDING_ID_MUST_BE_ZERO = "pending_id_must_be_zero", "Only a post or a void names a pending transfer."
    PENDING_ID_MUST_NOT_BE_ZERO = "pending_id_must_not_be_zero", "A post or a void must name its pending transfer."
    PENDING_ID_MUST_NOT_BE_INT_MAX = (
        "pending_id_must_not_be_int_max",
        "The pending transfer's id is the greatest possible number, which is reserved.",
    )
    PENDING_ID_MUST_BE_DIFFERENT = "pending_id_must_be_different", "A transfer cannot end itself."
    TIMEOUT_RESERVED_FOR_PENDING_TRANSFER = (
        "timeout_reserved_for_pending_transfer",
        "Only a pending transfer has a timeout.",
    )
    CLOSING_TRANSFER_MUST_BE_PENDING = "closing_transfer_must_be_pending", "A transfer that closes must be pending."
    AMOUNT_MUST_NOT_BE_ZERO = "amount_must_not_be_zero", "The transfer moves nothing."
    LEDGER_MUST_NOT_BE_ZERO = "ledger_must_not_be_zero", "The transfer names no ledger."
    CODE_MUST_NOT_BE_ZERO = "code_must_not_be_zero", "The transfer names no code."
    DEBIT_ACCOUNT_NOT_FOUND = "debit_account_not_found", "There is no such debit account.", True
    CREDIT_ACCOUNT_NOT_FOUND = "credit_account_not_found", "There is no such credit account.", True
    ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER = (
        "accounts_must_have_the_same_ledger",
        "The two accounts keep different currencies.",
    )
    TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS = (
        "transfer_must_have_the_same_ledger_as_accounts",
        "The transfer's currency is not that of its accounts.",
    )
    PENDING_TRANSFER_NOT_FOUND = "pending_transfer_not_found", "There is no such pending transfer.", True
    PENDING_TRANSFER_NOT_PENDING = "pending_transfer_not_pending", "The transfer named was never pending."
    PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID = (
        "pending_transfer_has_different_debit_account_id",
        "The pending transfer has another debit account.",
    )
    PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID = (
        "pending_transfer_has_different_credit_account_id",
        "The pending transfer has another credit account.",
    )
    PENDING_TRANSFER_HAS_DIFFERENT_LEDGER = (
        "pending_transfer_has_different_ledger",
        "The pending transfer is in another ledger.",
    )
    PENDING_TRANSFER_HAS_DIFFERENT_CODE = (
        "pending_transfer_has_different_code",
        "The pending transfer has another code.",
    )
    EXCEEDS_PENDING_TRANSFER_AMOUNT = "exceeds_pending_transfer_amount", "More is posted than was reserved."
    PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT = (
        "pending_transfer_has_different_amount",
        "A void gives back the whole reserved amount or names none.",
    )
    PENDING_TRANSFER_ALREADY_POSTED = "pending_transfer_already_posted", "The pending transfer was posted before."
    PENDING_TRANSFER_ALREADY_VOIDED = "pending_transfer_already_voided", "The pending transfer was voided before."
    PENDING_TRANSFER_EXPIRED = "pending_transfer_expired", "The pending transfer ran out of time."
    DEBIT_ACCOUNT_ALREADY_CLOSED = "debit_account_already_closed", "The debit account is closed.", True
    CREDIT_ACCOUNT_ALREADY_CLOSED = "credit_account_already_closed", "The credit account is closed.", True
    OVERFLOWS_DEBITS_PENDING = "overflows_debits_pending", "The debit account's pending debits would overflow."
    OVERFLOWS_CREDITS_PENDING = "overflows_credits_pending", "The credit account's pending credits would overflow."
    OVERFLOWS_DEBITS_POSTED = "overflows_debits_posted", "The debit account's posted debits would overflow."
    OVERFLOWS_CREDITS_POSTED = "overflows_credits_posted", "The credit account's posted credits would overflow."
    OVERFLOWS_DEBITS = "overflows_debits", "The debit account's debits would overflow."
    OVERFLOWS_CREDITS = "overflows_credits", "The credit account's credits would overflow."
    OVERFLOWS_TIMEOUT = "overflows_timeout", "The timeout reaches past the end of the calendar."
    EXCEEDS_CREDITS = "exceeds_credits", "The debit account does not have enough.", True
    EXCEEDS_DEBITS = "exceeds_debits", "The credit account cannot take so much.", True


class JournalStatus(Status):
    """What may become of a new journal, or of the wish to reverse one."""

    POSTED = "posted", "The journal was posted."
    IDEMPOTENCY_CONFLICT = "idempotency_conflict", "The idempotency key was used before for another content."
    JOURNAL_EXISTS = "journal_exists", "A journal with this id exists under another idempotency key."
    JOURNAL_EMPTY = "journal_empty", "A journal needs at least one transfer."
    JOURNAL_NOT_FOUND = "journal_not_found", "There is no such journal to reverse."
    JOURNAL_ALREADY_REVERSED = "journal_already_reversed", "The journal was reversed before."
    JOURNAL_NOT_REVERSIBLE = (
        "journal_not_reversible",
        "The journal holds amounts that are still pending; end those instead.",
    )
    # Not passing: no id is burnt and nothing remembered, so that the journal may come again under the same key with
    # another value date; a late duplicate of the first request is then a conflict and cannot be booked beside it.
    PERIOD_CLOSED = "period_closed", "The value date lies in a closed period; give a later one or have it reopened."
    REFUSED = "refused", "A transfer of the journal was refused, so none was made."


class PeriodStatus(Status):
    """What may become of the wish to close a period or to reopen it."""

    CLOSED = "closed", "The period is closed."
    REOPENING_ASKED = "reopening_asked", "The wish to reopen the period was noted; another person must do it."
    REOPENED = "reopened", "The period is open again."
    PERIOD_INVALID = "period_invalid", "A period must end after it begins."
    PERIOD_NOT_OVER = "period_not_over", "The period is not over yet.", True
    ALREADY_CLOSED = "already_closed", "The period was closed before."
    OVERLAPS = "overlaps", "Part of this time is closed already, in a period of other bounds."
    EARLIER_PERIOD_OPEN = "earlier_period_open", "What lies before this period is still open; close in order.", True
    POSTINGS_IN_FLIGHT = "postings_in_flight", "What began before the period ended is still being written.", True
    NOT_CLOSED = "not_closed", "The period is not closed.", True
    LATER_PERIOD_CLOSED = "later_period_closed", "A later period is closed; reopen in the opposite order.", True
    REOPENING_ALREADY_ASKED = "reopening_already_asked", "Somebody has asked before to reopen the period."
    REOPENING_NOT_ASKED = "reopening_not_asked", "Nobody has asked to reopen the period.", True
    NEEDS_ANOTHER_PERSON = "needs_another_person", "Who asked to reopen the period cannot be the one who does it."
