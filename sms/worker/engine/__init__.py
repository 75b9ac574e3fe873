"""Run many conversations with DMark at once, over libcurl in one thread. Only this package uses libcurl."""
