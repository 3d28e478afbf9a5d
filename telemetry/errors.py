"""Everything telemetry may refuse, as closed lists: messages that become dead letters, and operations."""

from enum import StrEnum
from typing import Self


class DeadReason(StrEnum):
    """Why a message was put among the dead letters; its value is stored, its sentence is for a person."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Self:
        """Join the code with its sentence."""
        reason = str.__new__(cls, code)
        reason._value_ = code
        reason.sentence = sentence
        return reason

    TOPIC_UNKNOWN = "topic_unknown", "The topic is none of ours."
    BOX_UNKNOWN = "box_unknown", "No such box is enrolled."
    BOX_REVOKED = "box_revoked", "The box has been revoked."
    SHARD_WRONG = "shard_wrong", "The box is enrolled under another shard."
    CHANNEL_UNKNOWN = "channel_unknown", "The box has no such channel."
    TOO_LARGE = "too_large", "The payload is longer than 16 KiB."
    NOT_JSON = "not_json", "The payload is no JSON."
    NOT_AN_OBJECT = "not_an_object", "The payload is JSON but no object."
    VERSION_UNKNOWN = "version_unknown", "The payload says a format version that we do not know."
    FIELD_MISSING = "field_missing", "A field is missing."
    FIELD_WRONG = "field_wrong", "A field has the wrong type."
    OUT_OF_RANGE = "out_of_range", "A field is outside of what can be."
    STORAGE_REFUSED = "storage_refused", "The database refuses this message, also when it comes alone."
    PROGRAM_FAILED = "program_failed", "Our own program failed on this message; it is kept whole."
    SEQUENCE_REUSED = "sequence_reused", "Another message with this boot and sequence number is already stored."


class Refusal(StrEnum):
    """Why an operation on boxes was refused; none of them will pass by trying again."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Self:
        """Join the code with its sentence."""
        refusal = str.__new__(cls, code)
        refusal._value_ = code
        refusal.sentence = sentence
        return refusal

    BOX_EXISTS = "box_exists", "A box with this code is already enrolled."
    BOX_UNKNOWN = "box_unknown", "No such box is enrolled."
    BOX_REVOKED = "box_revoked", "The box has been revoked."
    BOX_CODE_WRONG = "box_code_wrong", "A box code has 1 to 40 letters, digits, hyphens or underscores."
    CHANNEL_UNKNOWN = "channel_unknown", "The box has no such channel."
    SETS_DIFFER = "sets_differ", "Another ingest worker parts the shards into another number of sets."
    THRESHOLDS_WRONG = "thresholds_wrong", "Thresholds are positive, and standby lies below running."
    ALREADY_JUDGED = "already_judged", "Readings after this moment are judged; only a named person has it done anew."


class MessageRefused(Exception):  # noqa: N818 - it is a verdict on a message, not an error of ours
    """A message that cannot be taken; `reason` says why."""

    def __init__(self, reason: DeadReason) -> None:
        super().__init__(reason.sentence)
        self.reason = reason


class TelemetryRefused(Exception):  # noqa: N818
    """An operation that was refused and has changed nothing; `code` says why."""

    retryable = False

    def __init__(self, code: Refusal) -> None:
        super().__init__(code.sentence)
        self.code = code
