"""Card accounts and cards: who holds what, and the proof that a card is that card."""
