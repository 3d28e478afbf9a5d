"""Double entry: accounts, two-phase transfers, journals. Knows SQL and nothing of cards, people or HTTP."""
