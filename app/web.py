"""What a view needs of the running application: its database and its settings."""

from flask import Flask, current_app

from app.db import Database
from app.settings import Settings

_EXTENSION = "testcard"


def equip(flask: Flask, *, database: Database, settings: Settings) -> None:
    """Give the application its database and settings."""
    flask.extensions[_EXTENSION] = (database, settings)


def database() -> Database:
    """Give the database of the running application."""
    found: Database = current_app.extensions[_EXTENSION][0]
    return found


def settings() -> Settings:
    """Give the settings of the running application."""
    found: Settings = current_app.extensions[_EXTENSION][1]
    return found
