"""The page at the instrument, served on loopback by the terminal's own process."""
