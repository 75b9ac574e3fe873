"""Gunicorn's settings; its access log shows no player's link."""

import os
from typing import Any

from gunicorn.glogging import Logger

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "playmatatu.settings")


class RedactedLogger(Logger):
    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
        from playmatatu.logs import hidden

        atoms = super().atoms(resp, req, environ, request_time)
        return {key: hidden(value) if isinstance(value, str) else value for key, value in atoms.items()}


wsgi_app = "playmatatu.wsgi"
logger_class = RedactedLogger
accesslog = "-"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
# Twice as many as the processor needs, so that stakes that wait for one locked row leave threads for other requests.
threads = 8
timeout = 60
# Longer than a proxy keeps its idle connections (nginx: 60): else it sends a request on one that is just being closed.
keepalive = 75
