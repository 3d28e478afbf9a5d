"""Every text of the pages exists in both languages, and the catalogue is the one that the sources ask for."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

APP = Path(__file__).resolve().parents[2] / "app"
CATALOG = APP / "translations" / "zh_Hans_CN" / "LC_MESSAGES"
# The same words as `make messages` gives to pybabel.
KEYWORDS = {"_": None, "gettext": None, "_l": None, "_n": (1, 2)}
VALUE = re.compile(r"%\((\w+)\)")
HAN = re.compile(r"[\u4e00-\u9fff]")
# What is the same in both languages.
NOT_CHINESE = {"%(text)s", "%(status)s, %(moment)s: %(reason)s", "PDF", "SHA-256"}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    with (CATALOG / "messages.po").open("rb") as file:
        return read_po(file, locale="zh_Hans_CN")


def _messages(catalog: Catalog) -> Iterable[Message]:
    return (message for message in catalog if message.id)


def _texts(message: Message) -> list[str]:
    string = message.string
    return [string] if isinstance(string, str) else list(string or ())


def _key(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def test_the_catalogue_holds_exactly_the_texts_of_the_sources(catalog: Catalog) -> None:
    with (APP / "translations" / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    found = extract_from_dir(APP, methods, options, keywords=KEYWORDS)
    wanted = {
        message if isinstance(message, str) else message[0] for _file, _line, message, _comments, _context in found
    }
    known = {_key(message) for message in _messages(catalog)}
    assert wanted == known, "run `make messages` and translate what is new"


def test_every_text_is_in_chinese_and_none_is_a_guess(catalog: Catalog) -> None:
    for message in _messages(catalog):
        assert not message.fuzzy, message.id
        for text in _texts(message):
            assert HAN.search(text) or message.id in NOT_CHINESE, message.id


def test_every_translation_sets_in_the_same_values(catalog: Catalog) -> None:
    for message in _messages(catalog):
        source = message.id if isinstance(message.id, str) else message.id[1]
        for text in _texts(message):
            assert sorted(VALUE.findall(text)) == sorted(VALUE.findall(source)), source


def test_every_text_can_have_values_set_in(catalog: Catalog) -> None:
    """A template sets values in whether there are any or not: a lone percent sign ends in an error page."""
    for message in _messages(catalog):
        for text in (*([message.id] if isinstance(message.id, str) else message.id), *_texts(message)):
            assert text % dict.fromkeys(VALUE.findall(text), 1), message.id


def test_the_compiled_catalogue_is_the_one_in_the_sources(catalog: Catalog) -> None:
    with (CATALOG / "messages.mo").open("rb") as file:
        compiled = read_mo(file)
    assert {_key(m): _texts(m) for m in _messages(compiled)} == {_key(m): _texts(m) for m in _messages(catalog)}
