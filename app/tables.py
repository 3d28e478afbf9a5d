"""Every table of the service, imported in one place for whoever needs the whole schema."""

from app import jobs
from app.domains import rooms

MODELS = (*rooms("models"), jobs)
