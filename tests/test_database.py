import pytest
from sqlalchemy import text

from app.db import Database


def test_a_transaction_commits_when_its_block_ends(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("CREATE TABLE note (word text)"))
        session.execute(text("INSERT INTO note VALUES ('kept')"))
    with database.reader() as session:
        assert session.scalar(text("SELECT word FROM note")) == "kept"


def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("CREATE TABLE note (word text)"))

    def fail() -> None:
        with database.transaction() as session:
            session.execute(text("INSERT INTO note VALUES ('lost')"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    with database.reader() as session:
        assert session.scalar(text("SELECT count(*) FROM note")) == 0
