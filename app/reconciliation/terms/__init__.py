"""Doors for programs to what people lay down: silence rules, policies, and answers to unpaid use."""
