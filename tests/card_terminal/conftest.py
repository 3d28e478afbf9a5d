"""A fresh small world for each test of the terminal."""

from pathlib import Path

import pytest

from tests.card_terminal.honest_server import HonestServer, TurnedClock
from tests.card_terminal.world import Station, Wire


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def server(clock: TurnedClock) -> HonestServer:
    return HonestServer(clock=clock, balances_fen={"1001": 100_00, "1002": 100_00}, pins={"1002": "4711"})


@pytest.fixture
def wire(server: HonestServer) -> Wire:
    return Wire(server=server)


@pytest.fixture
def station(tmp_path: Path, server: HonestServer, wire: Wire, clock: TurnedClock) -> Station:
    return Station(tmp_path / "terminal", server=server, wire=wire, clock=clock)
