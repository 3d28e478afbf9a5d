"""Collector boxes as staff look after them: enrolment, lists, alarms, calibration, dead letters."""
