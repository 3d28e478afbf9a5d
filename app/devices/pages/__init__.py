"""Pages of devices: terminals, boxes, their alarms, calibration, dead letters."""

from app.devices.pages import alarms, boxes, calibration, dead_letters, terminals
from app.devices.pages.common import blueprint

__all__ = ["alarms", "blueprint", "boxes", "calibration", "dead_letters", "terminals"]
