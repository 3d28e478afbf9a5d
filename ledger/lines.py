r"""One line of text for each fact of the books, the same from SQL and from Python: what the seals hash.

A line is `testcard-<kind>-v1|<field>|<field>…` with every column of the row in the order below. Numbers are decimal,
moments microseconds since 1970, bytes hex, no value an empty field. Texts stand in quotes, with four characters
written otherwise: \\ for a backslash, \p for a bar, \n and \r for the ends of a line. So a bar always parts two
fields, and a line never breaks. The encoding never changes; another one would be `-v2`, beside this one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

VERSION = 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ESCAPES = {"\\": "\\\\", "|": "\\p", "\n": "\\n", "\r": "\\r"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One table of facts: the word for its rows, its columns with the form each has in a line, and its clock."""

    name: str
    table: str
    written_at: str
    fields: Mapping[str, str]

    @property
    def prefix(self) -> str:
        """The first field of the kind's lines."""
        return f"testcard-{self.name}-v{VERSION}"

    @property
    def letter(self) -> str:
        """What stands for the kind where room is short."""
        return self.name[0]

    @property
    def line(self) -> str:
        """The SQL expression that gives a row's line; the same as `encode`."""
        return f"concat_ws('|', '{self.prefix}', {', '.join(_FORMS[form](name) for name, form in self.fields.items())})"

    def encode(self, row: Mapping[str, object]) -> str:
        """Give the line of a row from its columns' values; the same as `line`."""
        return "|".join((self.prefix, *(encode_value(row[name]) for name in self.fields)))


KINDS = (
    Kind(
        name="account",
        table="ledger.accounts",
        written_at="created_at",
        fields={
            "id": "plain",
            "ledger": "plain",
            "code": "plain",
            "flags": "plain",
            "user_data_128": "plain or none",
            "user_data_64": "plain",
            "user_data_32": "plain",
            "created_at": "moment",
            "xid": "plain",
        },
    ),
    Kind(
        name="document",
        table="ledger.documents",
        written_at="created_at",
        fields={
            "id": "plain",
            "kind": "text",
            "digest": "bytes",
            "created_at": "moment",
            "xid": "plain",
        },
    ),
    Kind(
        name="journal",
        table="ledger.journals",
        written_at="created_at",
        fields={
            "id": "plain",
            "kind": "text",
            "reference": "text",
            "text": "text",
            "actor": "text",
            "value_at": "moment",
            "created_at": "moment",
            "idempotency_key": "text",
            "request_hash": "bytes",
            "reverses_id": "plain or none",
            "xid": "plain",
        },
    ),
    Kind(
        name="period",
        table="ledger.period_events",
        written_at="at",
        fields={
            "id": "plain",
            "starts_at": "moment",
            "ends_at": "moment",
            "action": "text",
            "actor": "text",
            "reason": "text",
            "at": "moment",
            "xid": "plain",
        },
    ),
    Kind(
        name="transfer",
        table="ledger.transfers",
        written_at="timestamp",
        fields={
            "id": "plain",
            "debit_account_id": "plain",
            "credit_account_id": "plain",
            "amount_fen": "plain",
            "ledger": "plain",
            "code": "plain",
            "flags": "plain",
            "pending_id": "plain or none",
            "timeout_s": "plain",
            "user_data_128": "plain or none",
            "user_data_64": "plain",
            "user_data_32": "plain",
            "journal_id": "plain or none",
            "timestamp": "moment",
            "value_at": "moment",
            "debit_debits_pending_fen": "plain",
            "debit_debits_posted_fen": "plain",
            "debit_credits_pending_fen": "plain",
            "debit_credits_posted_fen": "plain",
            "credit_debits_pending_fen": "plain",
            "credit_debits_posted_fen": "plain",
            "credit_credits_pending_fen": "plain",
            "credit_credits_posted_fen": "plain",
            "xid": "plain",
        },
    ),
)
"""Every kind of fact that is sealed, in the order of the names."""
KIND_OF_NAME = {kind.name: kind for kind in KINDS}
KIND_OF_LETTER = {kind.letter: kind for kind in KINDS}
KIND_OF_PREFIX = {kind.prefix: kind for kind in KINDS}


def _text_sql(name: str) -> str:
    expression = f'"{name}"'
    for plain, written in ESCAPES.items():
        expression = f"replace({expression}, {_literal(plain)}, {_literal(written)})"
    return f"""'"' || {expression} || '"'"""


def _literal(text: str) -> str:
    if text in "\r\n":
        return f"chr({ord(text)})"
    return f"'{text}'"


_FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda name: f'"{name}"',
    "plain or none": lambda name: f"""coalesce("{name}"::text, '')""",
    # Not as a bigint: a forged 'infinity' must give another line, and not an error.
    "moment": lambda name: f'trunc(extract(epoch FROM "{name}") * 1000000)',
    "text": _text_sql,
    "bytes": lambda name: f"""encode("{name}", 'hex')""",
}
_TO_ESCAPES = str.maketrans(ESCAPES)


def encode_value(value: object) -> str:
    """Give one field of a line."""
    match value:
        case None:
            return ""
        case int() | UUID():
            return str(value)
        case datetime():
            return str((value - EPOCH) // timedelta(microseconds=1))
        case bytes():
            return value.hex()
        case str():
            return f'"{value.translate(_TO_ESCAPES)}"'
    raise TypeError(f"a line has no form for {type(value).__name__}")
