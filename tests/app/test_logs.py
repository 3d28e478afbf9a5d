"""What the logs say, and what they never say."""

import json
import logging

import pytest
import structlog

from app import logs


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.fixture(autouse=True)
def _json_logs() -> None:
    structlog.contextvars.clear_contextvars()
    logs.configure("json")


def test_our_own_and_the_libraries_lines_have_one_shape(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.get_logger("app.cards").info("card_issued", card_id=7)
    logging.getLogger("alembic").info("done")
    ours, theirs = written(capsys)
    assert (ours["event"], ours["card_id"], ours["level"], ours["logger"]) == ("card_issued", 7, "info", "app.cards")
    assert (theirs["event"], theirs["logger"]) == ("done", "alembic")


def test_configuring_again_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    structlog.get_logger("app").info("once")
    assert len(written(capsys)) == 1


def test_of_a_card_number_only_the_last_four_digits_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.get_logger("app").info("tap of 6200123456789012 seen", face_number="6200123456789012")
    line = capsys.readouterr().err
    assert "6200123456789012" not in line
    assert line.count("***9012") == 2


@pytest.mark.parametrize("kept", ["3f2b1c9a-0000-4000-8000-123456789012", "2026-03-02T09:00:00Z", "123456789"])
def test_ids_moments_and_short_numbers_stay_readable(capsys: pytest.CaptureFixture[str], kept: str) -> None:
    structlog.get_logger("app").info("seen", value=kept)
    assert written(capsys)[0]["value"] == kept


@pytest.mark.parametrize("name", ["pin", "password", "token", "authorization"])
def test_secrets_are_not_written(capsys: pytest.CaptureFixture[str], name: str) -> None:
    structlog.get_logger("app").info("seen", **{name: "1234"})
    assert written(capsys)[0][name] == "***"


def test_payloads_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.get_logger("app").info("seen", payload=b"\x00" * 5000, words="字" * 5000)
    line = written(capsys)[0]
    assert line["payload"] == "<5000 bytes>"
    assert len(str(line["words"])) < 230


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_an_error_is_written_with_its_traceback_but_without_values(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    logs.configure(log_format)
    words = {"password": "five green bottles"}
    try:
        _ = words["6200123456789012"]
    except KeyError as error:
        structlog.get_logger("app").error("unexpected_error", exc_info=error)
    line = capsys.readouterr().err
    assert "KeyError" in line
    assert "test_logs.py" in line
    assert "five green bottles" not in line
    assert "6200123456789012" not in line


def test_text_logs_are_for_eyes(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text")
    structlog.get_logger("app").info("card_issued", card_id=7)
    assert "card_issued" in capsys.readouterr().err
