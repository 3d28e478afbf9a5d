"""What Prometheus reads of the service: every stage from a box's message to a sealed record."""

from app.metrics.door import blueprint

__all__ = ["blueprint"]
