"""Card cryptography, pure: CMAC, diversification, EV2, secure dynamic messages; checked by published vectors."""

from card_terminal.crypto import ev2, files, lrp, ndef, sun
from card_terminal.crypto.aes import aes_cmac
from card_terminal.crypto.diversification import diversify
from card_terminal.crypto.keys import KeySlot, card_key

__all__ = ["KeySlot", "aes_cmac", "card_key", "diversify", "ev2", "files", "lrp", "ndef", "sun"]
