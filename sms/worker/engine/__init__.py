"""Send many messages to DMark at once, over libcurl in one thread.

In the `sms` app, only this package uses libcurl.
"""
