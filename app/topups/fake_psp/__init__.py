"""A payment service for demonstrations and tests: shaped like Stripe, with state, a payment page and signed messages.

It runs as a process of its own and talks to the service over HTTP only, as the real one does. No money moves.
"""

from app.topups.fake_psp.server import Config, FakePsp

__all__ = ["Config", "FakePsp"]
