"""The web pages for players."""
