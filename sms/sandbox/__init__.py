"""The sandbox: a fake of the SMS provider DMark, for development and tests.

The sandbox speaks real HTTP. It has a page that shows the phones with their messages, and a switch for each fault that
it can simulate.
"""
