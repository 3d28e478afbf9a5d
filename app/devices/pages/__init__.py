"""Pages of devices: terminals, boxes, their alarms, calibration, dead letters."""

from app.devices.pages import alarms, boxes, calibration, configuration, dead_letters, terminals
from app.devices.pages.common import blueprint

__all__ = ["alarms", "blueprint", "boxes", "calibration", "configuration", "dead_letters", "terminals"]
