"""Money in: at the counter by two people, online through a payment service."""
