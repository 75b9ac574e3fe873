"""`GET /api/v1/health`: by part; `down` only without a database."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LookTimeout  # the built-in one from Python 3.11
from typing import Any

from django.core.cache import cache
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Router

from game.api.schemas import Health
from game.models import GameWorker
from payments import collecting
from sms import clock, conf
from sms.models import SmsPause
from sms.stats import pulse

logger = logging.getLogger("playmatatu.health")
# Whatever hangs, the answer is given by then.
LOOK_SECONDS = 1.5
# By what keeps DMark from taking texts.
_PROVIDER = {"credentials": "refuses", "account": "refuses", "provider": "trouble"}
router = Router(tags=["operation"])


@router.api_operation(["GET", "HEAD"], "/health", response={200: Health, 503: Health}, summary="Is the service well?")
def health(request: HttpRequest) -> HttpResponse:
    """`outbox` is late when texts have been due for a minute; `worker` is none when one is needed and none lives."""
    end = time.monotonic() + LOOK_SECONDS
    # Both at once, and neither in this thread: what hangs must not keep the answer.
    database, cached = _looks.submit(_database), _looks.submit(_cache)
    parts: dict[str, Any] = {}
    for name, look, silent in (("database", database, {"database": "down"}), ("cache", cached, {"cache": "down"})):
        try:
            parts |= look.result(max(0.0, end - time.monotonic()))
        except LookTimeout:
            logger.error("playmatatu.health: the %s does not answer within %g seconds", name, LOOK_SECONDS)
            parts |= silent
    if parts["database"] != "ok":
        return JsonResponse({"status": "down", "parts": parts}, status=503, headers={"Retry-After": "5"})
    states = [part["status"] if isinstance(part, dict) else part for part in parts.values()]
    well = all(state in ("ok", "inline", "unheard") for state in states)
    return JsonResponse({"status": "ok" if well else "degraded", "parts": parts})


class Looks:
    """Threads that look at what may hang. One look of a kind at a time: who asks meanwhile waits for the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="health")
        self._running: dict[Look, Future[dict[str, Any]]] = {}

    def submit(self, look: "Look") -> "Future[dict[str, Any]]":
        with self._lock:
            running = self._running.get(look)
            if running is None or running.done():
                running = self._running[look] = self._threads.submit(look)
            return running


def _database() -> dict[str, Any]:
    """The database and, where it answers, what it says of sending."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        try:
            return {"database": "ok"} | _sms() | _game()
        except (DatabaseError, InterfaceError):
            logger.exception("playmatatu.health: the outbox cannot be read")
            return {"database": "ok", "sms": "unknown"}
    # Whatever the driver raises, the answer must still be given.
    except Exception:
        logger.exception("playmatatu.health: the database does not answer")
        return {"database": "down"}
    finally:
        connection.close()


def _game() -> dict[str, Any]:
    """`none`: we collect, the site leaves that to a worker, and none lives."""
    alive = GameWorker.alive()
    needed = collecting.is_on() and conf.current().delivery != "inline"
    return {"game_worker": {"status": "ok" if alive else "none" if needed else "inline", "alive": alive}}


def _cache() -> dict[str, Any]:
    try:
        cache.set("playmatatu_health", 1, 5)
        return {"cache": "ok" if cache.get("playmatatu_health") == 1 else "down"}
    except Exception:
        logger.exception("playmatatu.health: the cache does not answer")
        return {"cache": "down"}


Look = Callable[[], dict[str, Any]]
_looks = Looks()


def _sms() -> dict[str, Any]:
    config = conf.current()
    if not config.enabled:
        return {"sms": "disabled"}
    now = clock.now()
    alive, attempts = pulse.workers(now), pulse.last_attempts()
    holds = list(SmsPause.objects.all())
    oldest = pulse.oldest_due(now, holds)
    age = max(0, round((now - oldest).total_seconds())) if oldest else 0
    trouble, _ = pulse.trouble(alive, attempts, now)
    worker = "inline" if config.delivery == "inline" else "ok" if alive else "none"
    if any(one.paused for one in alive) or any(hold.kind == SmsPause.ALL for hold in holds):
        worker = "paused"
    last = attempts[0] if attempts else None
    return {
        "sms": "ok",
        "outbox": {"status": "late" if age > pulse.LATE_SECONDS else "ok", "oldest_due_seconds": age},
        "worker": {"status": worker, "alive": len(alive)},
        # `unheard`: it was not asked anything yet.
        "provider": {
            "status": _PROVIDER.get(trouble, "ok" if last else "unheard"),
            "last_asked_at": last.at.isoformat(timespec="seconds") if last else None,
            "last_http_status": last.http_status if last else None,
        },
    }
