"""A gateway that answers DMark's requests of playmatatu-sms and sends through Africa's Talking.

It needs only the standard library.

The only state is in memory: the URLs for delivery reports of the last 100,000 messages.
"""

import json
import os
import secrets
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode
from urllib.request import Request, urlopen

URL = os.environ.get("AT_URL", "https://api.africastalking.com/version1/messaging")
USERNAME, API_KEY = os.environ["AT_USERNAME"], os.environ["AT_API_KEY"]
# The credentials of playmatatu-sms (SMS_SERVICE_USERNAME, SMS_SERVICE_PASSWORD), and the token that it gets for them.
OURS = (os.environ["GATEWAY_USERNAME"], os.environ["GATEWAY_PASSWORD"])
TOKEN = secrets.token_urlsafe(32)
TIMEOUT = 8  # Seconds. This must be less than SMS_READ_TIMEOUT.
# Codes of Africa's Talking for an accepted message: 100 processed, 101 sent, 102 queued.
ACCEPTED = (100, 101, 102)
FINAL = {"Success": "DELIVERED", "Failed": "FAILED", "Rejected": "REJECTED"}

report_urls: "OrderedDict[str, str]" = OrderedDict()


def post(url: str, form: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
    try:
        with urlopen(Request(url, urlencode(form).encode(), headers), timeout=TIMEOUT) as response:
            return response.status, response.read(65536)
    except HTTPError as error:
        return error.code, error.read(65536)


def send(message: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send one message. Return the status and body of DMark's response.

    504 means that the provider may have the message. After any other 5xx, playmatatu-sms sends the message again.
    """
    form = {"username": USERNAME, "to": "+256" + message["numbers"].removeprefix("0"), "message": message["msg"]}
    try:
        status, body = post(URL, form, {"apiKey": API_KEY, "Accept": "application/json"})
    except OSError:
        status, body = 504, b"No complete response from Africa's Talking"
    # After an error of its server, Africa's Talking may have the message too.
    status = 504 if status >= 500 else status
    if not 200 <= status < 300:
        return status, {"description": body.decode("utf-8", "replace")[:200], "status_code": str(status)}
    data = json.loads(body)["SMSMessageData"]
    # If Africa's Talking refuses the whole request, for example its sender ID, the list of recipients is empty.
    recipient = data["Recipients"][0] if data["Recipients"] else {"statusCode": 0, "status": data["Message"]}
    if recipient["statusCode"] not in ACCEPTED:
        return 400, {"msg_id": "", "description": str(recipient["status"]), "status_code": "400"}
    if message.get("dlr_url"):
        report_urls[recipient["messageId"]] = message["dlr_url"]
        if len(report_urls) > 100_000:
            report_urls.popitem(last=False)
    return 201, {"msg_id": recipient["messageId"], "description": "Message accepted", "status_code": "201"}


class Gateway(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/report":  # Africa's Talking sends delivery reports to this URL.
            return self.report(dict(parse_qsl(body.decode())))
        data = json.loads(body)
        if self.path == "/api/get_token/":
            if (data.get("username"), data.get("password")) == OURS:
                return self.answer(200, {"access_token": TOKEN, "status_code": "200"})
            return self.answer(401, {"description": "Invalid username or password", "status_code": "401"})
        # The token is also wrong after a restart of the gateway. playmatatu-sms then fetches a new one.
        if self.headers["authToken"] != TOKEN:
            return self.answer(401, {"description": "Invalid auth token", "status_code": "401"})
        if self.path == "/v3/api/send_sms/":
            return self.answer(*send(data))
        return self.answer(404, {"description": "Unknown message", "status_code": "404"})

    def report(self, form: dict[str, str]) -> None:
        url = report_urls.get(form.get("id", ""))
        if url:
            post(url, {"status": FINAL.get(form["status"], "PENDING")}, {})
        self.answer(200, {"status": "received"})

    def answer(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Log nothing, because a log line would contain a phone number."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8026"))), Gateway).serve_forever()
