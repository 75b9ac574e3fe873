"""One text: claimed, tried, and what came of it."""
