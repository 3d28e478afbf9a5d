"""What people read: statement, ledger view, evidence of a charge."""
