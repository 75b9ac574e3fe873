"""The three endpoints of the fake DMark: issue a token, accept an SMS, return a delivery report."""

import time
from typing import Any

import jwt

from sms.sandbox.answers import Reply
from sms.sandbox.reporter import Reporter
from sms.sandbox.state import Received, State, now

TOKEN, SEND, DLR = "token", "send", "dlr"
PLACES = {"/api/get_token/": TOKEN, "/v3/api/get_token/": TOKEN, "/v3/api/send_sms/": SEND, "/v3/api/dlr/": DLR}
_NO_ACCOUNT = {"error": "Account Not Found", "description": "Account Does Not Exist.", "status_code": 404}


def refusal(place: str, status: int) -> dict[str, str]:
    words = {
        400: "Invalid message format",
        401: "Invalid username or password" if place == TOKEN else "Invalid auth token",
        403: "Invalid token type. Token must be a <class 'bytes'>",
        404: "Account Does Not Exist.",
    }.get(status, "Refused")
    return {"description": words, "status_code": str(status)}


class DMark:
    def __init__(self, state: State) -> None:
        self.state = state
        self.reporter = Reporter(state)

    def reply(self, path: str, body: object, token: str) -> Reply:
        place = PLACES[path]
        if not isinstance(body, dict):
            return Reply(400, {"msg_id": "", **refusal(place, 400)})
        if place == TOKEN:
            return self._token(path, body)
        if token not in self.state.tokens or self.state.faults.refuse_tokens:
            return Reply(401, {"msg_id": "", **refusal(place, 401)})
        return self._send(body) if place == SEND else self._dlr(body)

    def _token(self, path: str, body: dict[str, Any]) -> Reply:
        faults = self.state.faults
        if faults.token_path == ("api" if path.startswith("/v3/") else "v3"):
            return Reply(404, _NO_ACCOUNT)
        if not body.get("username") or not body.get("password"):
            return Reply(401, {"access_token": "", **refusal(TOKEN, 401)})
        claims: dict[str, Any] = {"sub": str(body["username"]), "iat": int(time.time()), "jti": str(time.time_ns())}
        kind = faults.token_kind
        if kind != "no_exp":
            claims["exp"] = int(time.time() + (-60 if kind == "past" else faults.token_life))
        token = jwt.encode(claims, self.state.key, algorithm="HS256")
        if kind == "opaque":
            token = f"opaque-{time.time_ns()}"
        with self.state.lock:
            self.state.tokens.add(token)
        return Reply(
            201,
            {
                "access_token": "" if kind == "missing" else token,
                "first_name": "",
                "last_name": "",
                "username": body["username"],
                "description": "Token generated",
                "status_code": "201",
            },
        )

    def _send(self, body: dict[str, Any]) -> Reply:
        faults = self.state.faults
        to, text = body.get("numbers"), body.get("msg")
        if not isinstance(to, str) or not isinstance(text, str) or not to or not text:
            return Reply(400, {"msg_id": "", **refusal(SEND, 400)})
        kind = faults.send_kind
        nothing = {"Failed": int(kind != "submitted_0"), "Total": 1, "Submitted": 0, "Detail": []}
        if kind in ("failed", "submitted_0"):
            return Reply(200, nothing)
        if kind == "no_credit":
            return Reply(400, {"msg_id": "", "status_code": "400", "description": faults.refusal})
        if kind == "no_credit_failed":
            return Reply(200, nothing | {"description": faults.refusal})
        message = self.state.take(to, text, str(body.get("dlr_url") or ""))
        reply = _acceptance(kind, message)
        if message.hidden:  # The sandbox sends no delivery report for a message that it has lost on purpose.
            return reply
        if faults.of_number(to).report == "before":
            self.reporter.at_once(message)
            return reply
        return Reply(reply.status, reply.body, self.reporter.plan(message))

    def _dlr(self, body: dict[str, Any]) -> Reply:
        message = self.state.find(body.get("msg_id", body.get("msgId")))
        if message is None:
            return Reply(404, {"error": "Not Found", "description": "Unknown message", "status_code": 404})
        return Reply(200, {"msg_id": message.msg_id, "status": message.status, "submitted_at": now()})


def _acceptance(kind: str, message: Received) -> Reply:
    if kind == "top":
        return Reply(201, {"msg_id": str(message.msg_id), "status_code": "201", "description": "Message accepted"})
    detail = [{"phone": "256" + message.to.lstrip("+").removeprefix("0"), "msg_id": message.msg_id}]
    return Reply(200, {"Failed": 0, "Total": 1, "Submitted": 1, "Detail": [] if kind == "no_id" else detail})
