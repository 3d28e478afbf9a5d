"""What the accountant's pages and doors ask: read from the transfers alone, changed only through the ledger."""
