"""The offline rules by themselves: whatever the clocks and the counters say, no limit and no time is overstepped."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from card_terminal.offline.rules import Allowed, Clocks, Used, decide, spent_fen
from card_terminal.protocol import (
    OFFLINE_MINUTES_MAX,
    CostStep,
    MessageError,
    OfflineCard,
    OfflineList,
    RefusalCode,
    TariffSnapshot,
    Words,
    encode_sealing_key,
    minutes_payable,
    most_fen,
    open_card_keys,
    seal_card_keys,
)

NOON_MS = 1_790_000_000_000
DAY_MS = 24 * 3_600_000
UID, STOPPED_UID = "04000000000001", "04000000000002"
TEXT = Words(zh="30元/小时", en="30 yuan an hour")


def tariff(*steps: tuple[int, int]) -> TariffSnapshot:
    return TariffSnapshot(text=TEXT, schedule=tuple(CostStep(minute=minute, cost_fen=cost) for minute, cost in steps))


HALF_A_YUAN_A_MINUTE = tariff(*((minute, 50 * minute) for minute in range(1, OFFLINE_MINUTES_MAX + 1)))


def a_list(*, limit_fen: int = 200_00, price: TariffSnapshot = HALF_A_YUAN_A_MINUTE) -> OfflineList:
    card = OfflineCard(
        reference=7, uid=UID, key_version=1, card="··42", name_masked="李*", limit_fen=limit_fen, tariff=0
    )
    return OfflineList(
        version=3,
        device_id="terminal-1",
        valid_from=NOON_MS,
        valid_until=NOON_MS + DAY_MS,
        terminal_limit_fen=2_000_00,
        unsent_max=20,
        sessions_per_card=2,
        tariffs=(price,),
        cards=(card, replace(card, reference=8, uid=STOPPED_UID)),
        hot_uids=(STOPPED_UID,),
    )


def at(*, server_ms: int | None = NOON_MS + 1, mono_ms: int = 0, deadline_mono_ms: int | None = DAY_MS) -> Clocks:
    return Clocks(mono_ms=mono_ms, server_ms=server_ms, deadline_mono_ms=deadline_mono_ms)


def said(
    offline_list: OfflineList | None, uid: str = UID, *, clocks: Clocks | None = None, **used: Used
) -> RefusalCode | Allowed:
    values = {"used": Used(), "unsent": Used()} | used
    return decide(offline_list, uid, clocks=clocks or at(), **values)


@pytest.mark.parametrize(
    ("decision", "code"),
    [
        (said(None), RefusalCode.OFFLINE_NO_LIST),
        (said(replace(a_list(), cards=())), RefusalCode.OFFLINE_NO_LIST),
        (said(a_list(), "04FFFFFFFFFFFF"), RefusalCode.OFFLINE_CARD_NOT_LISTED),
        (said(a_list(), STOPPED_UID), RefusalCode.CARD_HOTLISTED),
        (said(a_list(), clocks=at(server_ms=None)), RefusalCode.OFFLINE_CLOCK_UNTRUSTED),
        (said(a_list(), clocks=at(server_ms=NOON_MS - 3 * 3_600_000)), RefusalCode.OFFLINE_CLOCK_UNTRUSTED),
        (said(a_list(), clocks=at(server_ms=NOON_MS + DAY_MS)), RefusalCode.OFFLINE_LIST_EXPIRED),
        (said(a_list(), clocks=at(mono_ms=DAY_MS)), RefusalCode.OFFLINE_LIST_EXPIRED),
        (said(a_list(), clocks=at(deadline_mono_ms=None)), RefusalCode.OFFLINE_LIST_EXPIRED),
        (said(a_list(), used=Used(sessions=2, fen=1)), RefusalCode.OFFLINE_LIMIT_CARD),
        (said(a_list(), used=Used(sessions=1, fen=199_51)), RefusalCode.OFFLINE_LIMIT_CARD),
        (said(a_list(limit_fen=49)), RefusalCode.OFFLINE_LIMIT_CARD),
        (said(a_list(price=tariff())), RefusalCode.OFFLINE_LIMIT_CARD),
        (said(a_list(), unsent=Used(sessions=20, fen=1)), RefusalCode.OFFLINE_LIMIT_TERMINAL),
        (said(a_list(), unsent=Used(sessions=1, fen=1_999_51)), RefusalCode.OFFLINE_LIMIT_TERMINAL),
    ],
)
def test_each_rule_refuses_with_its_own_code(decision: RefusalCode | Allowed, code: RefusalCode) -> None:
    assert decision is code


def test_a_session_is_cut_by_time_where_its_limit_is_used_up() -> None:
    allowed = said(a_list())
    assert isinstance(allowed, Allowed)
    assert (allowed.grant.minutes, allowed.grant.limit_fen) == (400, 200_00)
    assert (allowed.grant.version, allowed.grant.card, allowed.grant.at_ms) == (3, 7, NOON_MS + 1)
    rest = said(a_list(), used=Used(sessions=1, fen=190_00), unsent=Used(sessions=1, fen=190_00))
    assert isinstance(rest, Allowed)
    assert (rest.grant.minutes, rest.grant.limit_fen) == (20, 10_00)


steps = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30_00)), min_size=1, max_size=12).map(
    lambda gaps: [(1 + sum(g for g, _ in gaps[:i]), sum(c for _, c in gaps[: i + 1])) for i in range(len(gaps))]
)


@given(steps, st.integers(1, 200_00), st.lists(st.integers(0, OFFLINE_MINUTES_MAX * 60_000), max_size=4))
def test_no_run_of_sessions_costs_a_card_more_than_its_limit(
    schedule: list[tuple[int, int]], limit_fen: int, lengths_ms: list[int]
) -> None:
    price = tariff(*schedule)
    used = Used()
    for length_ms in lengths_ms:
        decision = said(a_list(limit_fen=limit_fen, price=price), used=used)
        if isinstance(decision, RefusalCode):
            continue
        elapsed_ms = min(length_ms, decision.grant.minutes * 60_000)
        cost = spent_fen(price.schedule, elapsed_ms=elapsed_ms)
        assert cost <= decision.grant.limit_fen
        used = Used(sessions=used.sessions + 1, fen=used.fen + cost)
    assert used.fen <= limit_fen
    assert used.sessions <= 2


@given(steps, st.integers(0, 500_00))
def test_the_minutes_are_the_most_that_the_money_pays(schedule: list[tuple[int, int]], budget_fen: int) -> None:
    price = tariff(*schedule)
    minutes = minutes_payable(price, budget_fen)
    assert 0 <= minutes <= OFFLINE_MINUTES_MAX
    if minutes:
        assert most_fen(price.schedule, minutes) <= budget_fen
    if minutes < OFFLINE_MINUTES_MAX:
        assert most_fen(price.schedule, minutes + 1) > budget_fen


@given(st.integers(-2 * DAY_MS, 2 * DAY_MS), st.integers(0, 2 * DAY_MS), st.integers(0, DAY_MS))
def test_a_list_holds_only_while_both_clocks_say_so(server_after_ms: int, mono_ms: int, deadline_mono_ms: int) -> None:
    clocks = at(server_ms=NOON_MS + server_after_ms, mono_ms=mono_ms, deadline_mono_ms=deadline_mono_ms)
    holds = isinstance(said(a_list(), clocks=clocks), Allowed)
    assert holds == (-90_000 <= server_after_ms < DAY_MS and mono_ms < deadline_mono_ms)


def test_the_cards_keys_open_for_one_terminal_and_one_version_only() -> None:
    key, keys = X25519PrivateKey.generate(), [bytes([number]) * 16 for number in (1, 2)]
    sealed = seal_card_keys(keys, receiver=encode_sealing_key(key), device_id="terminal-1", version=3)
    content = replace(a_list(), sealed_keys=sealed)
    assert open_card_keys(content, key=key) == keys
    for other in (replace(content, version=4), replace(content, device_id="terminal-2"), a_list()):
        with pytest.raises(MessageError):
            open_card_keys(other, key=key)
    with pytest.raises(MessageError):
        open_card_keys(content, key=X25519PrivateKey.generate())
    with pytest.raises(MessageError):
        seal_card_keys(keys, receiver="A" * 43, device_id="terminal-1", version=3)
