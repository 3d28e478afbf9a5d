"""The one transaction boundary: what commits, what is taken back, and what is done again."""

from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import Database, apart
from tests.owner import as_owner


def owner_makes(session: Session, table: str) -> None:
    as_owner(session)
    session.execute(text(f"CREATE TABLE {table} (word text)"))
    session.execute(text("SET LOCAL ROLE testcard_service"))


def test_a_transaction_commits_when_its_block_ends(database: Database) -> None:
    with database.transaction() as session:
        owner_makes(session, "app.note")
        session.execute(text("INSERT INTO app.note VALUES ('kept')"))
    with database.reader() as session:
        assert session.scalar(text("SELECT word FROM app.note")) == "kept"


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    with database.transaction() as session:
        owner_makes(session, "app.note")

    def fail() -> None:
        with database.transaction() as session:
            session.execute(text("INSERT INTO app.note VALUES ('lost')"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    with database.reader() as session:
        assert session.scalar(text("SELECT count(*) FROM app.note")) == 0


def test_an_item_of_a_job_that_fails_is_taken_back_and_the_others_stay(database: Database) -> None:
    def write(session: Session, word: str, then: str) -> str:
        session.execute(text("INSERT INTO app.item VALUES (:word)"), {"word": word})
        session.execute(text(then))
        return word

    def job(session: Session) -> list[str | None]:
        owner_makes(session, "app.item")
        items = {"one": "SELECT 1", "two": "SELECT 1 / 0", "three": "SELECT 1"}
        return [apart(session, partial(write, session, word, then), item=word) for word, then in items.items()]

    assert database.run(job) == ["one", None, "three"]
    with database.reader() as session:
        assert list(session.scalars(text("SELECT word FROM app.item"))) == ["one", "three"]


def test_trouble_that_no_item_is_to_blame_for_ends_the_job_so_that_it_is_done_again(database: Database) -> None:
    deadlock = text("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")
    tries = []

    def job(session: Session) -> str | None:
        def item() -> str:
            tries.append(1)
            if len(tries) == 1:
                session.execute(deadlock)
            return "done"

        return apart(session, item)

    assert database.run(job) == "done"
    assert len(tries) == 2
