"""The whole books at once: how long a file of them would be."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ledger.models import Transfer


def count_transfers(session: Session, *, until: datetime, limit: int) -> int:
    """Count the transfers with a value date before a moment, up to one more than the limit."""
    some = select(Transfer.id).where(Transfer.value_at < until).limit(limit + 1).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0
