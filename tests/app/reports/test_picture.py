"""The picture of a charge shows what the box saw, where it saw it, and says nothing where the box said nothing."""

from datetime import timedelta
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from app import clock
from app.reports import picture, service
from app.reports.evidence_schemas import document
from app.reports.service import Evidence
from app.settings import Settings
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.telemetry.wire import RUN_W, STANDBY_W, at


def seen(world: World, charge: UUID, *, points_max: int = 700) -> Evidence:
    reader = world.principal(world.holder_id)
    with world.database.reader() as session:
        return service.evidence(session, session_id=charge, reader=reader, at=clock.now(), points_max=points_max)


@pytest.fixture
def drawn(world: World, settings: Settings) -> tuple[Evidence, picture.Picture]:
    found = seen(world, world.charge(8, 72, duration_s=64 * 60))
    return found, picture.draw(document(found), frame=picture.WIDE, site_timezone=settings.site_timezone)


def test_card_and_box_stand_on_one_axis_of_time(drawn: tuple[Evidence, picture.Picture]) -> None:
    found, drawing = drawn
    frame = drawing.frame
    running = [stripe for stripe in drawing.stripes if stripe.state == "running"]
    assert len(running) == 1
    assert drawing.band.x < running[0].x < running[0].x + running[0].width < drawing.band.x + drawing.band.width
    per_minute = frame.plot_width / ((found.until - found.since) / timedelta(minutes=1))
    assert running[0].x - drawing.band.x == pytest.approx(2 * per_minute, abs=per_minute)
    assert [mark.label for mark in drawing.marks] == ["in", "out"]
    assert drawing.threshold is not None
    assert frame.top < drawing.threshold.position < frame.floor


def test_nothing_is_drawn_outside_the_frame(drawn: tuple[Evidence, picture.Picture]) -> None:
    _found, drawing = drawn
    frame = drawing.frame
    places = [place.split(",") for line in drawing.lines for place in line.split()]
    assert places
    for x, y in places:
        assert frame.left <= float(x) <= frame.width - frame.right
        assert frame.top <= float(y) <= frame.floor
    for stripe in drawing.stripes:
        assert frame.left <= stripe.x
        assert stripe.x + stripe.width <= frame.width - frame.right + 1.0


def test_a_silent_box_leaves_a_gap_and_not_a_line(world: World, settings: Settings) -> None:
    world._said += 30  # the box says nothing from 130 to 160
    clock.set_anchor(clock.Anchor(real=clock.real_now(), simulated=at(220), speed=1.0))
    world.play((10, STANDBY_W), (20, RUN_W), (20, STANDBY_W))
    found = seen(world, world.charge(120, 200, duration_s=80 * 60))
    drawing = picture.draw(document(found), frame=picture.SMALL, site_timezone=settings.site_timezone)
    assert len(drawing.lines) == 2
    unknown = [stripe for stripe in drawing.stripes if stripe.state == "unknown"]
    assert len(unknown) >= 1
    assert found.watched is not None
    assert max(gap[1] - gap[0] for gap in found.watched.gaps) == timedelta(minutes=30)


def test_a_charge_without_a_box_has_evidence_without_a_curve(world: World, settings: Settings) -> None:
    with world.database.transaction() as session:
        instrument = builders.instrument(session, in_group=builders.group(session, of_unit=builders.unit(session)))
        instrument_id = instrument.id
    found = seen(world, world.charge(8, 72, duration_s=64 * 60, instrument_id=instrument_id))
    drawing = picture.draw(document(found), frame=picture.WIDE, site_timezone=settings.site_timezone)
    assert found.watched is None
    assert drawing.lines == ()
    assert [stripe.state for stripe in drawing.stripes] == ["unknown"]


def test_the_document_never_has_more_points_than_asked_for(world: World) -> None:
    charge = world.charge(8, 72, duration_s=64 * 60)
    few = seen(world, charge, points_max=50)
    assert few.watched is not None
    assert 0 < len(few.watched.points) <= 50
    assert max(point.power_w for point in few.watched.points) == RUN_W  # both extremes stay, so no run disappears


def test_the_same_evidence_is_a_json_document(world: World, client: FlaskClient) -> None:
    charge = world.charge(8, 72, duration_s=64 * 60)
    world.reconcile(minutes=130)
    answer = client.get(f"/api/v1/reports/evidence/{charge}", headers=builders.bearer(client, "holder"))
    assert answer.status_code == 200, answer.get_data(as_text=True)
    document = answer.get_json()
    assert document["charge"]["amount_fen"] == 500_00
    assert client.get(f"/api/v1/reports/evidence/{charge}").status_code == 401
