"""Pages of cards: a holder's own, the counter's, stations and keys, and what a phone shows that read a card."""

from app.cards.pages import counter, holder, phone, stations
from app.cards.pages.common import blueprint

__all__ = ["blueprint", "counter", "holder", "phone", "stations"]
