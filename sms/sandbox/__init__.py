"""The sandbox: a fake of the SMS provider DMark, for development and tests. It is a real HTTP server."""
