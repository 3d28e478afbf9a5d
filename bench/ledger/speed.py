"""How many transfers a second, beside pgbench's transactions and the usual design on the same server."""

from collections.abc import Callable

from bench.ledger.rounds import Rates
from bench.ledger.server import Pgbench, Server
from bench.ledger.workers import COALESCED, Task, Workers, workers
from bench.report import quantile

CLIENTS = 8

# As callers make them, ever greater, and as those that are derived from others: without any order.
_ID = "rpad(to_hex(:id::bigint), 32, '0')::uuid"
_RANDOM_ID = "gen_random_uuid()"
_DRAWN = "\\set a random(1, 5000)\n\\set b random(5001, 10000)\n"
_POST = (
    "\\set number :number + 1\n\\set id :number * 8 + :client_id\n"
    "SELECT ledger.post_plain({id}, lpad(to_hex(:a::bigint), 32, '0')::uuid,"
    " lpad(to_hex({credit}::bigint), 32, '0')::uuid, 1, 156, 1, 0::smallint, 0, NULL, 0, 0);\n"
)
_USUAL = (
    "SELECT * FROM comparison.transfer('cmpa_' || lpad((:a - 1)::text, 26, '0'),"
    " 'cmpa_' || lpad(({} - 1)::text, 26, '0'), 1);\n"
)
POST = _DRAWN + _POST.format(id=_ID, credit=":b")
POST_RANDOM_IDS = _DRAWN + _POST.format(id=_RANDOM_ID, credit=":b")
POST_HOT = _DRAWN + _POST.format(id=_ID, credit="10001")
USUAL = _DRAWN + _USUAL.format(":b")
USUAL_HOT = _DRAWN + _USUAL.format("10000")

SINGLE, SINGLE_HOT, PAIR = Task("single"), Task("single", {"hot": True}), Task("pair")
SPREAD, HOT = Task(COALESCED), Task(COALESCED, {"hot": True})
BATCH_100, BATCH_1000 = Task("batch", {"size": 100}), Task("batch", {"size": 1_000})
BATCH_1000_HOT = Task("batch", {"size": 1_000, "hot": True})
INSERT_1000, INSERT_1000_PACKED = Task("insert", {"size": 1_000}), Task("insert", {"size": 1_000, "packed": True})
TWO_PHASE_1000 = Task("two_phase", {"size": 1_000})

SIMPLE_8, TPCB_8 = "pgbench simple-update, 8 clients", "pgbench tpcb-like, 8 clients"
USUAL_8, USUAL_HOT_8 = "pgledger-like, 8 clients", "pgledger-like, hot, 8 clients"
SQL_8, SQL_HOT_8 = "single in SQL, 8 clients", "single in SQL, hot, 8 clients"
PYTHON_8, PYTHON_HOT_8 = "single from Python, 8 processes", "single from Python, hot, 8 processes"
COALESCED_64, COALESCED_HOT_64 = "coalesced, 64 threads", "coalesced, hot, 64 threads"
INSERT, INSERT_PACKED = "bare insert of 1,000", "bare insert of 1,000, packed"
BATCH, BATCH_HOT = "batch of 1,000", "batch of 1,000, hot"
TWO_PHASE = "two-phase: 1,000 holds, then 1,000 captures"

RATIOS = {
    "sql_single_vs_simple": (SQL_8, SIMPLE_8),
    "single_vs_pgledger_like": (SQL_8, USUAL_8),
    "python8_vs_simple": (PYTHON_8, SIMPLE_8),
    "coalesced_vs_simple": (COALESCED_64, SIMPLE_8),
    "hot_vs_spread": (COALESCED_HOT_64, COALESCED_64),
    "hot_vs_pgledger_like_hot": (COALESCED_HOT_64, USUAL_HOT_8),
    "batch1000_vs_insert": (BATCH, INSERT),
    "batch1000_vs_packed_insert": (BATCH, INSERT_PACKED),
    "batch1000_hot_vs_batch1000": (BATCH_HOT, BATCH),
    "two_phase_vs_single_phase": (TWO_PHASE, BATCH),
    "sql_single_hot_vs_sql_single": (SQL_HOT_8, SQL_8),
    "pgledger_like_vs_simple": (USUAL_8, SIMPLE_8),
}


class Speed:
    """The measurements of one database, with their rates as they come in."""

    def __init__(self, server: Server, *, rounds: int, seconds: int) -> None:
        self._server, self._rounds, self._seconds = server, rounds, seconds
        self.rates = Rates()
        self._waits: dict[str, list[float]] = {COALESCED_64: [], COALESCED_HOT_64: []}

    def measure(self) -> None:
        """Fill the rates, in groups that are compared with one another."""
        url = self._server.books("bench")
        self._server.reference(url)
        pgbench = Pgbench(url, folder=self._server.folder)
        with workers(url, processes=CLIENTS) as hands:
            self._warm(hands)
            self._server.analyze(url)
            self.rates.take(self._goals(pgbench, hands), rounds=self._rounds)
            self.rates.take(self._batches(hands), rounds=self._rounds)
            self.rates.take(self._others(pgbench, hands), rounds=1)

    def ratios(self) -> dict[str, float]:
        """Give what the design has goals for, and what explains it."""
        found = {name: self.rates.ratio(above, below) for name, (above, below) in RATIOS.items()}
        for name, key in ((COALESCED_64, "coalesced"), (COALESCED_HOT_64, "coalesced_hot")):
            found[f"{key}_p50_ms"] = quantile(self._waits[name], 0.5) * 1_000
            found[f"{key}_p99_ms"] = quantile(self._waits[name], 0.99) * 1_000
        return found

    def _warm(self, hands: Workers) -> None:
        for task in (BATCH_1000, SPREAD, TWO_PHASE_1000):
            hands.rate(task, seconds=0.5)

    def _goals(self, pgbench: Pgbench, hands: Workers) -> dict[str, Callable[[], float]]:
        def script(sql: str) -> Callable[[], float]:
            return lambda: pgbench.script(sql, clients=CLIENTS, seconds=self._seconds)

        def python(task: Task) -> Callable[[], float]:
            return lambda: hands.rate(task, clients=CLIENTS, seconds=self._seconds)

        def coalesced(name: str, task: Task) -> Callable[[], float]:
            def rate() -> float:
                (found,) = hands.found(task, seconds=self._seconds)
                self._waits[name] += found.latencies_s
                return found.count / found.seconds

            return rate

        return {
            USUAL_8: script(USUAL),
            SQL_8: script(POST),
            SIMPLE_8: lambda: pgbench.simple_update(clients=CLIENTS, seconds=self._seconds),
            COALESCED_64: coalesced(COALESCED_64, SPREAD),
            COALESCED_HOT_64: coalesced(COALESCED_HOT_64, HOT),
            PYTHON_8: python(SINGLE),
            SQL_HOT_8: script(POST_HOT),
            USUAL_HOT_8: script(USUAL_HOT),
            PYTHON_HOT_8: python(SINGLE_HOT),
        }

    def _batches(self, hands: Workers) -> dict[str, Callable[[], float]]:
        tasks = {
            INSERT: INSERT_1000,
            BATCH: BATCH_1000,
            INSERT_PACKED: INSERT_1000_PACKED,
            TWO_PHASE: TWO_PHASE_1000,
            BATCH_HOT: BATCH_1000_HOT,
            "batch of 100": BATCH_100,
        }
        return {
            name: lambda task=task: hands.rate(task, seconds=self._seconds)  # type: ignore[misc]
            for name, task in tasks.items()
        }

    def _others(self, pgbench: Pgbench, hands: Workers) -> dict[str, Callable[[], float]]:
        """Name what belongs into the picture and has no goal."""
        seconds = self._seconds
        measures: dict[str, Callable[[], float]] = {
            TPCB_8: lambda: pgbench.tpcb_like(clients=CLIENTS, seconds=seconds),
            "hold + capture from Python, 8 processes": lambda: hands.rate(PAIR, clients=CLIENTS, seconds=seconds),
        }
        for clients in (1, 4):
            end = f"{clients} client{'s' * (clients > 1)}"
            processes = end.replace("client", "process") if clients == 1 else f"{clients} processes"
            measures |= {
                f"pgbench simple-update, {end}": lambda n=clients: pgbench.simple_update(clients=n, seconds=seconds),  # type: ignore[misc]
                f"pgbench tpcb-like, {end}": lambda n=clients: pgbench.tpcb_like(clients=n, seconds=seconds),  # type: ignore[misc]
                f"pgledger-like, {end}": lambda n=clients: pgbench.script(USUAL, clients=n, seconds=seconds),  # type: ignore[misc]
                f"single in SQL, {end}": lambda n=clients: pgbench.script(POST, clients=n, seconds=seconds),  # type: ignore[misc]
                f"single from Python, {processes}": lambda n=clients: hands.rate(SINGLE, clients=n, seconds=seconds),  # type: ignore[misc]
                f"hold + capture from Python, {processes}": lambda n=clients: hands.rate(
                    PAIR, clients=n, seconds=seconds
                ),  # type: ignore[misc]
            }
        return measures
