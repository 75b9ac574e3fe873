"""Numbers about sending: the state at this moment (`status`), and counts by hour and day (`counts`)."""
