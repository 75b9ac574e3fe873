"""The four endpoints of the fake DMarkPay: token, payin (payment to us), status, payout."""

import re
import secrets
import time
from base64 import b64decode
from decimal import Decimal, InvalidOperation
from typing import Any

from playmatatu.sandbox.money.phones import Notifier, Phones
from playmatatu.sandbox.money.transactions import FAILED, NETWORKS, SUCCESSFUL, State, Transaction
from sms.sandbox.answers import Reply

TOKEN_PATH = "/o/token/"  # noqa: S105
_TRANSACTIONS = re.compile(r"/api/v1/accounts/([^/]+)/transactions/([^/]+)/")
_WALLETS = ("dmark", *(network.wallet for network in NETWORKS.values()))


def place_of(method: str, path: str) -> tuple[str, str] | None:
    """Return the name of the endpoint's fault switch, and the id of the polled transaction.

    If the request is not a status poll, the id is "". Return None if DMarkPay has no such endpoint.
    """
    if path == TOKEN_PATH:
        return ("pay_token", "") if method == "POST" else None
    found = _TRANSACTIONS.fullmatch(path)
    if found is None:
        return None
    if method == "POST":
        return (found[2], "") if found[2] in ("payin", "payout") else None
    return "pay_status", found[2]


def refusal(place: str, status: int) -> dict[str, str]:
    """Return the body of a response with this 4xx status. `place`: the endpoint, as named by `place_of`."""
    if place == "pay_token":
        return {"error": "invalid_client"}
    if status in (401, 403):
        return {"detail": "Authentication credentials were not provided."}
    if place == "pay_status":
        return {"detail": "Not found."}
    return {"status": FAILED, "status_code": str(status), "message": "Request refused"}


class DMarkPay:
    def __init__(self, state: State) -> None:
        self.state = state
        self.notifier = Notifier(state)
        self.phones = Phones(state, self.notifier)
        # Tokens, each with its monotonic expiry time and the number of requests that have used it.
        self._tokens: dict[str, tuple[float, int]] = {}

    def reply(self, place: str, polled: str, body: Any, authorization: str) -> Reply:
        if place == "pay_token":
            return self._token(body, authorization)
        if not self._knows(authorization.removeprefix("Bearer ")):
            stale = self.state.faults.pay_stale
            status = int(stale.removesuffix("_html"))
            return Reply(status, "Forbidden" if stale.endswith("_html") else refusal(place, status))
        if place == "pay_status":
            return self._status(polled)
        if wrong := _wrong(body):
            return self._refused(body, wrong)
        return self._payin(body) if place == "payin" else self._payout(body)

    def count(self, place: str, polled: str, body: object) -> None:
        """Count a request under its `sp_transaction_id` (our reference), even if a fault prevents the response."""
        kind = {"pay_status": "status"}.get(place, place)
        with self.state.lock:
            transaction = self.state.money.transactions.get(polled)
            named = str(body.get("sp_transaction_id") or "") if isinstance(body, dict) else ""
            if kind in self.state.money.asked:
                named = transaction.sp_transaction_id if transaction else named or polled
                self.state.money.asked[kind][named] += 1

    def _token(self, body: object, authorization: str) -> Reply:
        try:
            name, _, password = b64decode(authorization.removeprefix("Basic "), validate=True).decode().partition(":")
        except ValueError:
            name = password = ""
        if not name or not password:
            return Reply(401, {"error": "invalid_client"})
        if not isinstance(body, dict) or body.get("grant_type") != "client_credentials":
            return Reply(400, {"error": "unsupported_grant_type"})
        token, life = secrets.token_urlsafe(20), self.state.faults.pay_token_life
        with self.state.lock:
            self._tokens[token] = (time.monotonic() + life, 0)
        return Reply(
            200, {"access_token": token, "expires_in": int(life), "token_type": "Bearer", "scope": "read write"}
        )

    def _knows(self, token: str) -> bool:
        with self.state.lock:
            end, used = self._tokens.get(token, (0.0, 0))
            if end < time.monotonic() or used >= (self.state.faults.pay_token_uses or used + 1):
                return False
            self._tokens[token] = (end, used + 1)
            return True

    def _payin(self, body: dict[str, Any]) -> Reply:
        faults, kind = self.state.faults, self.state.faults.payin_kind
        if kind == "refused":
            return self._refused(body, "This number cannot be charged")
        with self.state.lock:
            earlier = self.state.money.named(str(body["sp_transaction_id"]), "payin")
            if not earlier or faults.payin_again == "twice":
                transaction = self.state.money.add("payin", body)
                self.state.version += 1
        if earlier and faults.payin_again == "refused":
            return self._refused(body, "Duplicate sp_transaction_id")
        if earlier and faults.payin_again == "same":
            return Reply(200, self.notifier.body(earlier[0]))
        if kind == "successful":
            self.phones.end(transaction, SUCCESSFUL, "Transaction successful")
        elif kind == "failed":
            self.phones.end(transaction, FAILED, "Insufficient funds")
        else:
            self.phones.ask(transaction)
        if faults.callback == "before" and transaction.notify_url:
            transaction.called_back.wait(faults.hang_seconds)
        return self._accepted(transaction, kind)

    def _payout(self, body: dict[str, Any]) -> Reply:
        kind = self.state.faults.of_number(str(body["msisdn"])).payout_kind
        if kind == "refused":
            return self._refused(body, "This number cannot be paid")
        with self.state.lock:
            transaction = self.state.money.add("payout", body)
            if kind == "failed":
                transaction.end(FAILED, "The number is not registered")
            elif kind != "pending":
                transaction.end(SUCCESSFUL, "Transaction successful")
            self.state.version += 1
        return self._accepted(transaction, kind)

    def _accepted(self, transaction: Transaction, kind: str) -> Reply:
        said = self.notifier.body(transaction)
        if kind == "odd_word":
            said["status"] = self.notifier.word("Queued")
        if kind == "no_id":
            del said["transaction_id"]
        return Reply(201, said)

    def _refused(self, body: object, why: str) -> Reply:
        named = str(body.get("sp_transaction_id") or "") if isinstance(body, dict) else ""
        said = {"status": self.notifier.word(FAILED), "status_code": "400", "transaction_id": ""}
        return Reply(400, {**said, "sp_transaction_id": named, "message": why})

    def _status(self, transaction_id: str) -> Reply:
        with self.state.lock:
            transaction = self.state.money.transactions.get(transaction_id)
        unknown_for = self.state.faults.pay_unknown_for
        if transaction is None or time.monotonic() - transaction.started < unknown_for:
            return Reply(404, refusal("pay_status", 404))
        return Reply(200, self.notifier.body(transaction))


def _wrong(body: object) -> str:
    """Return an error message for an invalid payin or payout request, or "" if the request is valid."""
    if not isinstance(body, dict):
        return "JSON is expected"
    for name in ("wallet", "payment_method", "msisdn", "amount", "sp_transaction_id"):
        if not body.get(name):
            return f"{name}: This field is required."
    if body["wallet"] not in _WALLETS or body["payment_method"] not in NETWORKS:
        return "wallet or payment_method is not a valid choice"
    if not re.fullmatch(r"256\d{9}", str(body["msisdn"])):
        return "msisdn: Enter a valid number."
    try:
        amount = Decimal(str(body["amount"]))
    except InvalidOperation:
        amount = Decimal(0)
    return "" if amount.is_finite() and amount > 0 else "amount: A valid number is required."
