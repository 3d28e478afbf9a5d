"""The words of the pages: gettext with types, English in the source and Chinese in `translations/`."""

from typing import Any, Protocol

import flask_babel


class Sentence(Protocol):
    """A text that becomes the reader's language when it is written."""

    def __str__(self) -> str: ...


def _(message: str, **values: Any) -> str:
    """Give a text in the reader's language with its values set in."""
    return str(flask_babel.gettext(message, **values))


def _n(one: str, many: str, number: int, **values: Any) -> str:
    """Give a text in the reader's language in the form that fits the number, which is set in as `num`."""
    return str(flask_babel.ngettext(one, many, number, **values))


def _l(message: str, **values: Any) -> Sentence:
    """Give a text that is put into the reader's language only when it is written."""
    lazy: Sentence = flask_babel.lazy_gettext(message, **values)
    return lazy
