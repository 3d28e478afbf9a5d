from flask.testing import FlaskClient

from app.db import Database
from app.people.models import Role
from tests.app import builders


def test_a_person_logs_in_and_is_told_her_roles(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        builders.person(session, username="admin.wu", role=Role.ADMIN)
    answer = client.get("/api/v1/me", headers=builders.bearer(client, "admin.wu"))
    assert answer.get_json()["grants"] == [{"role": "admin", "sub_center_id": None, "group_id": None}]
