"""The transfers that are wished for while the ledger is measured."""

import itertools
import random
import time
from collections.abc import Callable
from uuid import UUID

from bench.ledger.server import ACCOUNTS, HOT, account
from ledger import NewTransfer, TransferFlag

_IDS = [account(number) for number in range(ACCOUNTS)]
_ticks = itertools.count(time.time_ns() // 1_000_000 << 12)


def new_id() -> UUID:
    """Make a UUIDv7 as a client does; of its moment the last twelve bits only count."""
    tick = next(_ticks)
    return UUID(int=(tick >> 12) << 80 | 7 << 76 | (tick & 0xFFF) << 64 | 2 << 62 | random.getrandbits(62))


def random_id() -> UUID:
    """Make an id without any order, as one derived from other ids is."""
    return UUID(int=random.getrandbits(128), version=4)


def wish(
    *,
    hot: bool = False,
    flags: TransferFlag = TransferFlag.NONE,
    make_id: Callable[[], UUID] = new_id,
    accounts: int = ACCOUNTS,
) -> NewTransfer:
    """Wish one transfer between accounts drawn by chance out of the first `accounts`, or into the hot account."""
    half = accounts // 2
    return NewTransfer(
        id=make_id(),
        debit_account_id=_IDS[int(random.random() * half)],
        credit_account_id=HOT if hot else _IDS[half + int(random.random() * half)],
        amount_fen=1,
        code=1,
        flags=flags,
    )


def hold() -> NewTransfer:
    """Wish a pending transfer that never runs out."""
    return wish(flags=TransferFlag.PENDING)


def capture(held: NewTransfer) -> NewTransfer:
    """Wish the end of a hold: all of it is posted."""
    return NewTransfer(id=new_id(), pending_id=held.id, flags=TransferFlag.POST_PENDING_TRANSFER)
