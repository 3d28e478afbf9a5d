"""The service: everything that joins ledger, telemetry and card terminals."""
