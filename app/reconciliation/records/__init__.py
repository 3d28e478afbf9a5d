"""Verified usage records (核实使用记录): the one table the product reads, each version sealed with the books."""

from app.reconciliation.records.document import canonical, digest_of, document_of, json_digest
from app.reconciliation.records.keeping import current_record, drop_usage_record, keep_usage_record

__all__ = [
    "canonical",
    "current_record",
    "digest_of",
    "document_of",
    "drop_usage_record",
    "json_digest",
    "keep_usage_record",
]
