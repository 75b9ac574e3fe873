"""The game's JSON endpoints."""
