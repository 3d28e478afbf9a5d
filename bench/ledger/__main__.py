"""`make bench NAME=ledger`: a table for people, then one line of JSON with the ratios that the design has goals for.

`ARGS="--rounds 1 --seconds 1 --rows 100000"` shows within a minute that everything runs; its numbers mean nothing.
`--only speed` (or size, proof) measures a part. Load generator and server share the machine.
"""

import argparse
import os
import signal
import sys

from bench import report
from bench.ledger.proof import Proof
from bench.ledger.server import OPTIONS, server
from bench.ledger.size import Size
from bench.ledger.speed import Speed

PARTS = ("speed", "size", "proof")


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is stopped, too
    found: dict[str, float | str | None] = {}
    rows: list[tuple[object, ...]] = []
    with server() as running:
        about = {
            "cores": os.cpu_count() or 0,
            "postgresql": running.version,
            "server_options": " ".join(OPTIONS),
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
        }
        if "speed" in arguments.only:
            speed = Speed(running, rounds=arguments.rounds, seconds=arguments.seconds)
            speed.measure()
            rows += speed.rates.rows()
            found |= speed.ratios()
        if "size" in arguments.only:
            size = Size(running, rows=arguments.rows, rounds=arguments.rounds, seconds=arguments.seconds)
            size.measure(say=_say)
            rows += size.rates.rows()
            found |= size.found
        if "proof" in arguments.only:
            proof = Proof(running, rounds=arguments.rounds, seconds=arguments.seconds)
            proof.measure(say=_say)
            rows += proof.rates.rows()
            found |= proof.found
    report.table(rows, head=("what", "per second, or as named", "least", "most"))
    print()
    report.table(list(found.items()), head=("ratio, or as named", ""))
    report.summary("ledger", {**found, **about})
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.ledger", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement in a round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; the middle counts")
    parser.add_argument("--rows", type=int, default=10_000_000, help="transfers in the large books")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
