"""Delivery reports: DMark pushes them to a view, or we poll for them."""
