"""Sessions that a terminal begins alone while this server is away: lists, what is held for them, what comes back."""
