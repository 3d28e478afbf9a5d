"""Readers: whatever can show a card to the terminal, behind one interface."""

from card_terminal.readers.reading import Reader, Reading, ReadingSink

__all__ = ["Reader", "Reading", "ReadingSink"]
