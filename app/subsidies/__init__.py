"""Subsidies: rule sets as data, funds with a budget, decisions that can be re-run."""
