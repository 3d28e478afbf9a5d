"""Readers: whatever can show a card to the terminal, behind one interface."""

from card_terminal.readers.reading import Reader, ReaderError, Reading, ReadingSink, StateSink

__all__ = ["Reader", "ReaderError", "Reading", "ReadingSink", "StateSink"]
