"""Meters that one can buy: what their MQTT messages mean. Pure functions from topic and payload to readings."""
