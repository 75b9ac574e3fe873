"""Send many messages to DMark at once, over libcurl in one thread. No other package of `sms` uses libcurl."""
