"""Card sessions: from swipe-in (hold) to swipe-out (capture)."""
