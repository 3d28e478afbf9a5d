"""The pages of the books open to three roles, and give files of a bearable length."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.exports import FileFormat
from app.people.models import Role
from tests.app import builders
from tests.app.accounting.office import Office


def sit_down(client: FlaskClient, username: str) -> None:
    """Let the client's browser hold a person's log-in."""
    token = builders.bearer(client, username)["Authorization"].removeprefix("Bearer ")
    with client.session_transaction() as cookie:
        cookie["log_in"] = token


def rooms(flask: Flask) -> Iterator[str]:
    """Give an address for every page of the books that can be opened."""
    with flask.test_request_context():
        adapter = flask.url_map.bind("localhost")
        for rule in flask.url_map.iter_rules():
            if rule.endpoint.startswith("accounting_pages.") and "GET" in (rule.methods or ()):
                ids = dict.fromkeys(("journal_id", "draft_id", "account_id"), uuid4())
                names = {"role": "cash", "month": "2026-10", "program": "beancount"}
                values = {name: value for name, value in (ids | names).items() if name in rule.arguments}
                yield adapter.build(rule.endpoint, values)


@pytest.mark.parametrize("role", [Role.CLERK, Role.ADMIN, Role.CARDHOLDER, Role.SUB_CENTER_MANAGER])
def test_nobody_else_opens_a_page_of_the_books(office: Office, app_: Flask, client: FlaskClient, role: Role) -> None:
    with office.site.database.transaction() as session:
        scope = {"sub_center_id": builders.sub_center(session).id} if role is Role.SUB_CENTER_MANAGER else {}
        builders.person(session, username="outsider", role=role, **scope)
    sit_down(client, "outsider")
    opened = {address: client.get(address).status_code for address in rooms(app_) if address != "/books/"}
    assert len(opened) > 10
    assert set(opened.values()) == {403}


def test_the_auditor_reads_and_is_offered_no_form(office: Office, client: FlaskClient) -> None:
    draft = office.draft(office.fee_wish(12_34))
    sit_down(client, "auditor")
    assert client.get("/books/drafts/new").status_code == 403
    shown = client.get(f"/books/drafts/{draft.id}").get_data(as_text=True)
    assert draft.number in shown
    assert "decision" not in shown
    assert "withdrawal" not in shown


@pytest.mark.parametrize("form", FileFormat)
def test_a_file_that_would_be_too_long_is_refused_before_any_of_it_is_sent(
    office: Office, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, form: FileFormat
) -> None:
    office.post(office.fee_wish(12_34))
    sit_down(client, "finance")
    address = f"/books/vouchers?format={form}&lang=en"
    with client.get(address) as whole:
        assert (whole.status_code, whole.mimetype) == (200, form.media_type.partition(";")[0])
    monkeypatch.setattr(FileFormat, "lines_max", 1)
    refused = client.get(address)
    assert refused.status_code == 422
    assert "more lines than a browser should wait for" in refused.get_data(as_text=True)


def test_a_format_that_nobody_writes_is_refused(office: Office, client: FlaskClient) -> None:
    _ = office
    sit_down(client, "finance")
    assert client.get("/books/vouchers?format=docx").status_code == 422
    assert client.get("/books/files/gnucash").status_code == 404
    assert client.get("/books/trial-balance/nothing").status_code == 404
    assert client.get("/books/months/2026-13").status_code == 404
