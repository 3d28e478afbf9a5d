"""The ledger beside pgbench on one server in one run: what counts are the ratios, not the machine."""
