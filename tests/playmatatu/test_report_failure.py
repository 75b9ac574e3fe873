"""`report_failure` reports a failed job even if the database is unavailable."""

import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from sms.testing import serving
from tests import preloaded
from tests.playmatatu.test_api_server import environment

ROOT = Path(__file__).parents[2]


class Webhook(BaseHTTPRequestHandler):
    bodies: list[bytes]

    def do_POST(self) -> None:
        type(self).bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def report(url: str) -> "subprocess.CompletedProcess[str]":
    return preloaded.run(
        ["manage.py", "report_failure", "playmatatu-check.service"],
        env=environment(DATABASE_URL="postgres://nobody@127.0.0.1:1/none", ALERT_WEBHOOK_URL=url, ADMINS=""),
    )


def test_a_failed_job_is_posted_without_a_database() -> None:
    Webhook.bodies = []
    with serving(HTTPServer(("127.0.0.1", 0), Webhook)) as server:
        ended = report(f"http://127.0.0.1:{server.server_port}/hook")
    assert ended.returncode == 0, ended.stderr
    (body,) = Webhook.bodies
    assert b"playmatatu-check.service failed on " in body
    assert b'"event": "begins"' in body


def test_an_alert_that_cannot_be_sent_fails() -> None:
    ended = report("http://127.0.0.1:1/hook")
    assert ended.returncode == 1
    assert "could not be sent" in ended.stderr


def test_an_alert_without_a_recipient_fails() -> None:
    ended = report("")
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("The alert has no recipient: set ADMINS or ALERT_WEBHOOK_URL.")
