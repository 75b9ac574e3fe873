"""Many texts, for long."""
