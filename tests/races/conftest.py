"""A site whose doors many threads use at once, each with its own client."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from flask import Flask

from app.db import Database
from app.settings import Settings
from tests.app import taps
from tests.app.conftest import app_, client, equipped_app, settings
from tests.app.taps import Site

__all__ = ["app_", "client", "equipped_app", "settings"]
T = TypeVar("T")
THREADS = 8


@pytest.fixture
def site(database: Database, settings: Settings, app_: Flask) -> Site:
    # The client makes a fresh context for every request, so threads may share it.
    return taps.new_site(database, settings, app_.test_client(use_cookies=False))


def at_once(*work: Callable[[], T]) -> list[T]:
    """Do all of it in threads that start together; give the results in the order of the arguments."""
    with ThreadPoolExecutor(max_workers=max(THREADS, len(work))) as pool:
        return [future.result() for future in [pool.submit(each) for each in work]]
