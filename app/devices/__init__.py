"""Terminals and collector boxes: enrolment, keys, signatures, placement at an instrument."""
