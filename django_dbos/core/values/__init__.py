"""Serialization of values and exceptions."""
