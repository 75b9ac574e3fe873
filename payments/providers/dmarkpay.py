"""DMarkPay: DMark's gateway to MTN and Airtel money. The reading of its answers is pure; the client does the HTTP."""

import hashlib
import json
import logging
import math
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import quote

from django.core.cache import cache

from payments import conf, words
from payments.models import Payment
from payments.providers import Answer, Order, Said
from payments.providers.http import NeverLeft, NoAnswer, request

logger = logging.getLogger("payments.dmarkpay")

NAME = "dmarkpay"
_WHO = "DMarkPay"
MAX_KEPT = 500
LONGEST_TTL = 30 * 86400

_METHODS = {"mtn": "mtn_mobile_money", "airtel": "airtel_mobile_money"}
_WALLETS = {"mtn": "mtn", "airtel": "airtel_oapi"}
_SAID = {
    Payment.Status.SUCCESS: Said.SUCCESS,
    Payment.Status.FAILED: Said.FAILED,
    Payment.Status.PENDING: Said.PENDING,
}
# What a client error means that says nothing of the order itself: too many requests, the token, not yet.
_TURNED_AWAY = (401, 403, 425, 429)


# --- reading


class Token(NamedTuple):
    value: str
    seconds: int


def read_token(status: int, body: bytes) -> Token | str:
    """The token and for how many seconds to keep it; or one sentence on why there is none."""
    data = _object(body)
    if status in (400, 401, 403):
        return (
            f"DMarkPay refuses the credentials ({status}): check DMARK_PAY_USERNAME, DMARK_PAY_PASSWORD and "
            "DMARK_PAY_TOKEN_URL."
        )
    token = data.get("access_token")
    # It goes into a header, so it must be fit for one.
    fit = isinstance(token, str) and 0 < len(token) <= 8192 and token.isascii() and token.isprintable()
    if status >= 300 or not fit:
        return f"DMarkPay gives no token ({status})."
    expires = data.get("expires_in")
    if isinstance(expires, str) and expires.strip().isascii() and expires.strip().isdigit():
        expires = int(expires.strip()[:12])
    # Compared, not converted: a whole number in JSON may be larger than any float.
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not 0 < expires < 10**18:
        expires = 0
    return Token(str(token), min(math.floor(0.9 * expires), LONGEST_TTL))


def read_collect(status: int, body: bytes, reference: str) -> Answer:
    """The answer to a payin. Only the word counts, and only below 400; a 4xx is final; the rest is in doubt."""
    answer = _read(status, body)
    if status in _TURNED_AWAY:
        return _as(answer, Said.NOT_TAKEN, f"DMarkPay turns the request away ({status})")
    if answer.ours not in ("", reference):
        # Its id is another transaction's: asking for it would tell of that one.
        return Answer(Said.IN_DOUBT, "", "", "The answer was to another transaction.", status, answer.text)
    if 400 <= status < 500 and status not in (408, 409):
        return _as(answer, Said.FAILED, "")
    if status >= 400:
        return _as(answer, Said.IN_DOUBT, f"DMarkPay is in trouble ({status})" if status >= 500 else "")
    return answer


def read_payout(status: int, body: bytes, reference: str) -> Answer:
    """Like a payin's, but a payout ends at once: what is pending is in doubt."""
    answer = read_collect(status, body, reference)
    return _as(answer, Said.IN_DOUBT, "DMarkPay says that it is pending") if answer.said is Said.PENDING else answer


def read_status(status: int, body: bytes) -> Answer:
    """What became of a transaction. An answer that tells nothing is in doubt, and changes nothing."""
    answer = _read(status, body)
    if status == 404:
        return _as(answer, Said.UNKNOWN, "DMarkPay knows no such transaction")
    if not 200 <= status < 300:
        return _as(answer, Said.IN_DOUBT, f"DMarkPay gives no answer ({status})")
    return answer


def _read(status: int, body: bytes) -> Answer:
    data = _object(body)
    word = words.read(data.get("status"))
    message = data.get("message")
    said = _SAID[word] if word else Said.IN_DOUBT
    if isinstance(message, str) and message.strip():
        spoken = words.printable(message.strip(), 200)
    else:
        spoken = "" if word else f"An answer that is not DMarkPay's ({status})"
    return Answer(
        said,
        provider_id=identifier(data.get("transaction_id")),
        ours=identifier(data.get("sp_transaction_id")),
        words=spoken,
        http_status=status,
        text=kept(body),
    )


def _as(answer: Answer, said: Said, otherwise: str) -> Answer:
    """The answer with another meaning; `otherwise`: the words where DMarkPay has none of its own."""
    own = answer.words if not answer.words.startswith("An answer that is not DMarkPay's") else ""
    spoken = own or otherwise or answer.words
    return Answer(said, answer.provider_id, answer.ours, spoken, answer.http_status, answer.text)


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def identifier(value: object) -> str:
    """An id given as text or as a number; "" for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value).strip() if isinstance(value, str) or abs(value) < 10**100 else ""
    return text if len(text) <= 100 and text.isprintable() and text.isascii() else ""


def kept(body: bytes) -> str:
    return words.printable(body[: 4 * MAX_KEPT].decode("utf-8", "replace"), MAX_KEPT)


# --- HTTP


class _NoToken(Exception):
    """There is no token to ask with, so nothing was asked."""


_fetching = threading.Lock()


class DMarkPay:
    """The client, as `Provider` describes it."""

    name = NAME

    def __init__(self) -> None:
        self.config = conf.dmarkpay()

    @property
    def longest(self) -> float:
        """Two tokens, two questions, each with its connect and twice its read time-out."""
        return 4 * (self.config.connect_timeout + 2 * self.config.timeout)

    def collect(self, order: Order) -> Answer:
        body = self._body(order) | {"notify_url": order.notify_url}
        started = time.monotonic()
        try:
            status, raw = self._with_token("POST", self._transactions("payin/"), body)
        except (_NoToken, NeverLeft) as error:
            return Answer(Said.NOT_TAKEN, words=str(error), ms=_ms(started))
        except NoAnswer as error:
            return Answer(Said.IN_DOUBT, words=str(error), ms=_ms(started))
        return _timed(read_collect(status, raw, order.reference), started)

    def payout(self, order: Order) -> Answer:
        started = time.monotonic()
        try:
            status, raw = self._with_token("POST", self._transactions("payout/"), self._body(order))
        except (_NoToken, NeverLeft) as error:
            return Answer(Said.NOT_TAKEN, words=str(error), ms=_ms(started))
        except NoAnswer as error:
            return Answer(Said.IN_DOUBT, words=str(error), ms=_ms(started))
        return _timed(read_payout(status, raw, order.reference), started)

    def status(self, provider_id: str) -> Answer:
        started = time.monotonic()
        try:
            quoted = quote(provider_id, safe="")
            status, raw = self._with_token("GET", self._transactions(f"{quoted}/"), None)
        except (_NoToken, NeverLeft, NoAnswer) as error:
            return Answer(Said.IN_DOUBT, words=str(error), ms=_ms(started))
        return _timed(read_status(status, raw), started)

    def _transactions(self, rest: str) -> str:
        account = quote(self.config.account, safe="")
        return self.config.url(f"/api/v1/accounts/{account}/transactions/{rest}")

    def _body(self, order: Order) -> dict[str, str]:
        wallet = self.config.wallet
        return {
            "wallet": wallet if wallet == "dmark" else _WALLETS.get(order.network, wallet),
            "payment_method": _METHODS.get(order.network, order.network),
            "msisdn": order.phone.removeprefix("+"),
            "description": order.description,
            "amount": f"{order.amount}.00",
            "sp_transaction_id": order.reference,
        }

    # --- the token

    def _with_token(self, method: str, url: str, body: dict[str, str] | None) -> tuple[int, bytes]:
        started = time.monotonic()
        token = self._token(rejected="")
        self._check_time(started)
        answer = self._exchange(method, url, token, body)
        if answer[0] != 403:
            return answer
        fresh = self._token(rejected=token)
        self._check_time(started)
        return self._exchange(method, url, fresh, body)

    def _check_time(self, started: float) -> None:
        """Whoever waited too long, for other threads' tokens or stopped, asks no more: `longest` could not be kept, and
        by then others may have judged the order."""
        if time.monotonic() - started > 0.75 * self.longest:
            raise _NoToken("No token came in time.")

    def _token(self, rejected: str) -> str:
        config = self.config
        secret = "\0".join((config.base_url, config.token_url, config.username, config.password))
        key = f"dmarkpay_token:{hashlib.sha256(secret.encode()).hexdigest()[:32]}"
        if (token := _cached(key)) and token != rejected:
            return token
        # One fetch at a time in a process: the others find its token in the cache.
        with _fetching:
            if (token := _cached(key)) and token != rejected:
                return token
            if rejected:
                _cache("drop the token", lambda: cache.delete(key))
            fetched = self._fetch_token()
            if fetched.seconds >= 1:
                _cache("keep the token", lambda: cache.set(key, fetched.value, fetched.seconds))
            return fetched.value

    def _fetch_token(self) -> Token:
        config = self.config
        try:
            status, raw = request(
                _WHO,
                "POST",
                config.url(config.token_url),
                config.timeouts,
                auth=(config.username.encode(), config.password.encode()),
                data={"grant_type": "client_credentials"},
            )
        except (NeverLeft, NoAnswer) as error:
            raise _NoToken(f"No token: {error}") from None
        token = read_token(status, raw)
        if isinstance(token, str):
            logger.error("%s", token, extra={"event": "payments.no_token", "http_status": status})
            raise _NoToken(token)
        return token

    def _exchange(self, method: str, url: str, token: str, body: dict[str, str] | None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {token}"}
        more = {} if body is None else {"json": body}
        return request(_WHO, method, url, self.config.timeouts, headers, **more)


def _ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _timed(answer: Answer, started: float) -> Answer:
    return Answer(
        answer.said,
        answer.provider_id,
        answer.ours,
        answer.words,
        answer.http_status,
        answer.text,
        _ms(started),
    )


# --- Django's cache, which may be down: then each question fetches a token of its own


def _cache(what: str, call: Any) -> Any:
    try:
        return call()
    # Each backend has errors of its own, and none of them may cost a payment.
    except Exception as error:  # noqa: BLE001
        logger.warning("The cache did not %s (%s).", what, type(error).__name__, extra={"event": "payments.cache_down"})
        return None


def _cached(key: str) -> str:
    token = _cache("give the token", lambda: cache.get(key))
    return token if isinstance(token, str) else ""
