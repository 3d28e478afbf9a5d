"""Collector boxes: from MQTT messages to states and sessions. Knows MQTT and SQL and nothing of money."""
