"""Delivery reports: pushed to the view, or polled."""
