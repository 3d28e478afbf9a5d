import doctest
from pathlib import Path

from app.db import Database

GUIDE = Path(__file__).parents[2] / "docs" / "explanation" / "ledger.md"


def test_the_examples_of_the_guide_run(database: Database) -> None:
    with database.transaction() as session:
        parsed = doctest.DocTestParser().get_doctest(
            GUIDE.read_text(encoding="utf-8"), {"session": session, "database": database}, GUIDE.name, str(GUIDE), 0
        )
        runner = doctest.DocTestRunner()
        runner.run(parsed)
        assert (runner.summarize(verbose=False).failed, len(parsed.examples)) == (0, 32)
