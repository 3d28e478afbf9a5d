"""Reconciliation: every charge against what the collector box saw."""
