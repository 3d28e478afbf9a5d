"""The commands between boxes and database: the ingest, the embedded broker, and the files of Mosquitto."""

import os
import secrets
import socket
import ssl
import threading
from pathlib import Path

import click
import sqlalchemy.exc
import structlog

from app import clock, settings
from app.db import Database
from app.starting import prepare, stop_on_signal

FOLLOW_EVERY_S = 2.0

log = structlog.get_logger(__name__)


@click.command()
def ingest() -> None:
    """Take the collector boxes' messages from the broker into the database; start as many as you like."""
    from telemetry.consumer import Consumer  # noqa: PLC0415 - only this process needs the broker's library
    from telemetry.worker import Worker  # noqa: PLC0415

    values = prepare()
    database = Database(values.database_url)
    consumer = Consumer(
        transaction=database.transaction,
        now=clock.now,
        host=values.mqtt_host,
        port=values.mqtt_port,
        username=values.mqtt_username,
        password=values.mqtt_password,
        tls=ssl.create_default_context(cafile=values.mqtt_ca_file) if values.mqtt_tls else None,
        shards=(),
    )
    Worker(
        consumer=consumer,
        transaction=database.transaction,
        name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        username=values.mqtt_username,
        sets=values.ingest_sets,
    ).run(stop_on_signal())
    database.close()


@click.group()
def broker() -> None:
    """The MQTT broker: the embedded one, or the files of Mosquitto."""


@broker.command()
@click.option("--users", type=click.Path(path_type=Path, exists=True), required=True, help="The broker's users file.")
def run(users: Path) -> None:
    """Run the embedded MQTT broker on the loopback interface."""
    from app.devices import roster  # noqa: PLC0415 - only this process needs the broker
    from telemetry import broker as embedded_broker  # noqa: PLC0415

    values = prepare()
    stop, database = stop_on_signal(), Database(values.database_url)
    keeper = threading.Thread(
        target=roster.keep, args=(database,), kwargs={"users_file": users, "stop": stop}, name="roster", daemon=True
    )
    keeper.start()
    embedded_broker.run(host=values.mqtt_host, port=values.mqtt_port, users_file=users, stop=stop)
    keeper.join()
    database.close()


@broker.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--listen", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=int, default=None, help="8883 with a certificate, else 1883.")
@click.option("--certificate", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="PEM, turns TLS on.")
@click.option("--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Of the certificate, PEM.")
@click.option("--user", default="mosquitto", show_default=True, help="The account that Mosquitto runs as.")
@click.option("--save-every", type=click.IntRange(min=1), default=1, show_default=True, help="Changes of its queue.")
@click.option("--follow", is_flag=True, help="Stay, and let Mosquitto know of every box that comes, changes or goes.")
def config(
    *,
    folder: Path,
    listen: str,
    port: int | None,
    certificate: Path | None,
    key: Path | None,
    user: str,
    save_every: int,
    follow: bool,
) -> None:
    """Write configuration, passwords and access list of Mosquitto into FOLDER, for the boxes enrolled now.

    Run it again after changes, or with --follow beside Mosquitto; a running Mosquitto is told to read them again.
    """
    from telemetry import mosquitto  # noqa: PLC0415 - only this process needs it

    values = prepare()
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key belong together")
    if not values.mqtt_password:
        raise settings.SettingsError("TESTCARD_MQTT_PASSWORD is missing: the ingest needs a password, too")
    folder = folder.resolve()
    listener = mosquitto.Listener(
        host=listen,
        port=port or (1883 if certificate is None else 8883),
        certificate=None if certificate is None else certificate.resolve(),
        key=None if key is None else key.resolve(),
    )
    try:
        content = mosquitto.configuration(folder, listener=listener, user=user, save_every=save_every)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for each in (folder, folder / mosquitto.DATA):
        each.mkdir(parents=True, exist_ok=True)
        mosquitto.give_to(each, user=user)
    mosquitto.write_private(folder / mosquitto.CONFIGURATION, content, user=user)
    stop, database = stop_on_signal(), Database(values.database_url)
    _write_users(database, values, folder=folder, user=user)
    while follow and not stop.wait(FOLLOW_EVERY_S):
        try:
            _write_users(database, values, folder=folder, user=user)
        except (sqlalchemy.exc.SQLAlchemyError, OSError) as error:
            log.warning("broker_users_not_kept", error=type(error).__name__)
    database.close()


def _write_users(database: Database, values: settings.Settings, *, folder: Path, user: str) -> None:
    from telemetry import boxes, mosquitto  # noqa: PLC0415 - only these processes need them

    with database.reader() as session:
        verifiers = boxes.verifiers(session)
    changed = mosquitto.write_users(
        folder,
        verifiers=verifiers,
        ingest=values.mqtt_username,
        ingest_password=values.mqtt_password,
        sets=values.ingest_sets,
        user=user,
    )
    if changed:
        log.info("broker_users_written", boxes=len(verifiers), reloaded=mosquitto.reload(folder))
