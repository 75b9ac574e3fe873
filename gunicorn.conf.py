"""Gunicorn's settings. The access log shows no query and no credential."""

import gc
import logging
import os
import re
import select
import sys
from functools import cache
from typing import Any

from gunicorn.config import AccessLogFormat
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

# The longest wait of a thread for the next request on a connection. A request on another connection may wait this long
# if all threads wait.
WAIT_MILLISECONDS = 3

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "playmatatu.settings")


class RedactedLogger(Logger):
    """Remove queries, which hold players' links and the numbers that an operator searches for, and mask the rest."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.addFilter(_redact_warning)

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
        if self.cfg.access_log_format == AccessLogFormat.default:
            atoms = self._default_atoms(resp, environ)
        else:
            atoms = super().atoms(resp, req, environ, request_time)
        # Redact only what the line prints of the request: redacting everything takes longer than writing the line.
        for name in _printed(self.cfg.access_log_format):
            value = atoms.get(name)
            if isinstance(value, str) and value != "-":
                atoms[name] = _redacted(value)
        return atoms

    def _default_atoms(self, resp: Any, environ: Any) -> dict[str, Any]:
        """Return the parts of gunicorn's default line. gunicorn also computes those of all other lines, which takes
        longer than writing the line.
        """
        return {
            "h": environ.get("REMOTE_ADDR", "-"),
            "l": "-",
            "u": self._get_user(environ) or "-",
            "t": self.now(),
            "r": f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}",
            "s": str(resp.status).partition(" ")[0],
            "b": str(resp.sent or "-"),
            "f": environ.get("HTTP_REFERER", "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
        }


_QUERY = re.compile(r"\?.*?(?= HTTP/\d|$)")


def _redacted(text: str) -> str:
    from playmatatu.logs import hidden

    return hidden(_QUERY.sub("?[hidden]", text))


def _redact_warning(record: logging.LogRecord) -> bool:
    """Redact a warning or an error of gunicorn. It may repeat the URL of a request that gunicorn could not read."""
    if record.levelno >= logging.WARNING:
        record.msg, record.args = _redacted(record.getMessage()), ()
    return True


# Parts of a line that are not texts from the request: address, time, status, sizes, process.
_NOT_FROM_REQUEST = frozenset("hltsbBTDMLp")


@cache
def _printed(line: str) -> list[str]:
    return [name for name in re.findall(r"%\(([^)]+)\)s", line) if name not in _NOT_FROM_REQUEST]


wsgi_app = "playmatatu.wsgi"
logger_class = RedactedLogger
accesslog = "-"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))


class Worker(ThreadWorker):
    """A thread that has answered a request waits a moment for the next one on the same connection.

    Behind a proxy that keeps its connections open, the next request on a busy site comes within milliseconds. Without
    this wait, each request goes through the main thread, which adds the connection to its poller, removes it, and wakes
    a thread. That takes a tenth of the CPU time of a short request.
    """

    def handle(self, conn: Any) -> Any:
        stays_open = super().handle(conn)
        while stays_open is True and self._next_request_comes(conn):
            stays_open = super().handle(conn)
        return stays_open

    def _next_request_comes(self, conn: Any) -> bool:
        if self.tpool._work_queue.qsize():
            return False  # Another connection waits for a thread.
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(WAIT_MILLISECONDS))


worker_class = Worker
# Twice as many as the processor needs, so that stakes that wait for one locked row leave threads for other requests.
threads = 8
timeout = 60
# Longer than a proxy keeps its idle connections (nginx: 60): else it sends a request on one that is just being closed.
keepalive = 75
# No header of a request sets its SCRIPT_NAME or its scheme. With `SCRIPT_NAME: /x`, /x/admin/ would be the admin, and a
# proxy's rule on /admin/ would not see it. Django reads the scheme itself, as TRUSTED_PROXY_COUNT says.
forwarder_headers = ""
forwarded_allow_ips = ""


def post_worker_init(_worker: Any) -> None:
    """Leave the loaded program out of garbage collection, which takes about 4% of a request otherwise.

    Let threads switch sooner than after 5 ms: the thread that has locked a stake level needs the interpreter after each
    of its statements.
    """
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


# Nothing uses it, and under systemd and in the container the site may create no file.
control_socket_disable = True
