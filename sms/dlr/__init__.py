"""Delivery reports: DMark sends them to a view (push), or we ask DMark for them (poll)."""
