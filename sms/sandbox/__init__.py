"""The sandbox: a fake of the SMS provider DMark, for development and tests.

It is a real HTTP server. Its page shows phones with the messages that they received, and a switch for each fault that
the sandbox can simulate.
"""
