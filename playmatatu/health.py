"""`GET /api/v1/health`: the state of each part of the service. The service is `down` only if the database is down."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

# From Python 3.11 on, ProbeTimeout is the built-in TimeoutError.
from concurrent.futures import TimeoutError as ProbeTimeout
from typing import Any

from django.core.cache import cache
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Router

from game.api.schemas import Health
from game.models import GameWorker
from payments import collection
from playmatatu.alert_sources import late_counts
from sms import clock, conf
from sms.models import SmsPause
from sms.stats import status

logger = logging.getLogger("playmatatu.health")
# The response is sent after at most this many seconds, even if the check of the database or the cache has not ended.
PROBE_SECONDS = 1.5
# `/health` reports the SMS provider as `refuses` or `trouble`, depending on the kind of trouble.
_PROVIDER = {"credentials": "refuses", "account": "refuses", "provider": "trouble"}
# States of a part that works normally. `unheard`: no request to the provider has been made yet.
_WELL = ("ok", "inline", "unheard")
router = Router(tags=["operation"])


@router.api_operation(["GET", "HEAD"], "/health", response={200: Health, 503: Health}, summary="State of the service")
def health(request: HttpRequest) -> HttpResponse:
    """Return the state of each part.

    `late`: work is overdue by more than a minute. `none`: a needed worker is not running.
    """
    end = time.monotonic() + PROBE_SECONDS
    # Separate threads check the database and the cache, so that a check that hangs does not delay the response.
    results = {name: probe.start() for name, probe in _PROBES.items()}
    parts: dict[str, Any] = {}
    for name, result in results.items():
        try:
            parts |= result.result(max(0.0, end - time.monotonic()))
        except ProbeTimeout:
            logger.error("playmatatu.health: the %s has not answered for %g seconds", name, PROBE_SECONDS)
            parts[name] = "down"
    if parts["database"] == "down":
        return JsonResponse({"status": "down", "parts": parts}, status=503, headers={"Retry-After": "5"})
    states = [part["status"] if isinstance(part, dict) else part for part in parts.values()]
    well = all(state in _WELL for state in states)
    return JsonResponse({"status": "ok" if well else "degraded", "parts": parts})


class Probe:
    """A check of the database or the cache, run in its own thread.

    Requests that arrive during a check share its result.
    """

    def __init__(self, name: str, look: Callable[[], dict[str, Any]]) -> None:
        self._look, self._lock = look, threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"health-{name}")
        self._running: Future[dict[str, Any]] | None = None

    def start(self) -> "Future[dict[str, Any]]":
        with self._lock:
            if self._running is None or self._running.done():
                self._running = self._thread.submit(self._look)
            return self._running


def _database() -> dict[str, Any]:
    """Return the state of the database, and of all parts whose state is stored in the database."""
    connection.close_if_unusable_or_obsolete()
    try:
        database = "read_only" if _is_read_only() else "ok"
        try:
            parts = {"database": database, **_sms(), **_game(), **_overdue()}
        except (DatabaseError, InterfaceError):
            logger.exception("playmatatu.health: the outbox cannot be read")
            parts = {"database": database, "sms": "unknown"}
        # Close the connection only if it is broken or older than CONN_MAX_AGE.
        connection.close_if_unusable_or_obsolete()
        return parts
    # The health check must respond even if the driver raises an unexpected exception.
    except Exception as error:  # noqa: BLE001
        logger.error("playmatatu.health: the database does not answer (%s: %s)", type(error).__name__, error)
        connection.close()
        return {"database": "down"}


def _is_read_only() -> bool:
    """Return True if the database is read-only, as on a PostgreSQL standby.

    The query also sets a lock timeout of 0.3 seconds. Only the health check uses this connection.
    """
    question = "SELECT 'off'"
    if connection.vendor == "postgresql":
        question = "SELECT current_setting('transaction_read_only'), set_config('lock_timeout', '300ms', false)"
    with connection.cursor() as cursor:
        cursor.execute(question)
        return bool(cursor.fetchone()[0] == "on")


def _game() -> dict[str, Any]:
    """Return the state of the game worker: `ok`, `none` (needed but not running) or `inline` (not needed)."""
    alive = GameWorker.alive()
    needed = collection.is_on() and conf.current().delivery != "inline"
    return {"game_worker": {"status": "ok" if alive else "none" if needed else "inline", "alive": alive}}


def _overdue() -> dict[str, Any]:
    counts = late_counts()
    return {"overdue": {"status": "late" if any(counts.values()) else "ok", **counts}}


def _cache() -> dict[str, Any]:
    try:
        cache.set("playmatatu_health", 1, 5)
        return {"cache": "ok" if cache.get("playmatatu_health") == 1 else "down"}
    except Exception as error:  # noqa: BLE001
        logger.error("playmatatu.health: the cache does not answer (%s)", type(error).__name__)
        return {"cache": "down"}


def _sms() -> dict[str, Any]:
    if not conf.current().enabled:
        return {"sms": "disabled"}
    sending = status.read(clock.now())
    age = max(0, round(sending.late))
    trouble, _ = status.trouble(sending.workers, sending.last, sending.time)
    worker = "inline" if sending.config.delivery == "inline" else "ok" if sending.workers else "none"
    if any(one.paused for one in sending.workers) or any(pause.kind == SmsPause.ALL for pause in sending.pauses):
        worker = "paused"
    last = sending.last[0] if sending.last else None
    return {
        "sms": "ok",
        "outbox": {"status": "late" if age > status.LATE_SECONDS else "ok", "oldest_due_seconds": age},
        "worker": {"status": worker, "alive": len(sending.workers)},
        "provider": {
            "status": _PROVIDER.get(trouble, "ok" if last else "unheard"),
            "last_asked_at": last.at.isoformat(timespec="seconds") if last else None,
            "last_http_status": last.http_status if last else None,
        },
    }


_PROBES = {"database": Probe("database", _database), "cache": Probe("cache", _cache)}
