"""The commands `testcard ledger …`: what concerns the books as a whole, for the person at the machine."""

import click


@click.group(name="ledger")
def ledger_commands() -> None:
    """The books: exports, trial balance, proofs."""
