"""People, organisations, roles, log-ins and the audit trail."""
