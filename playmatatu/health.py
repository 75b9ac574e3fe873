"""`GET /api/v1/health`: by part; `down` only without a database."""

import logging
from typing import Any

from django.core.cache import cache
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from ninja import Router

from game.api.schemas import Health
from sms import conf
from sms.figures import pulse

logger = logging.getLogger("playmatatu.health")
# By what keeps DMark from taking texts.
_PROVIDER = {"credentials": "refuses", "account": "refuses", "provider": "trouble"}
router = Router(tags=["operation"])


@router.api_operation(["GET", "HEAD"], "/health", response={200: Health, 503: Health}, summary="Is the service well?")
def health(request: HttpRequest) -> HttpResponse:
    """`outbox` is late when texts have been due for a minute; `worker` is none when one is needed and none lives."""
    parts: dict[str, Any] = {"database": _database(), "cache": _cache()}
    if parts["database"] != "ok":
        return JsonResponse({"status": "down", "parts": parts}, status=503)
    try:
        parts |= _sms()
    except (DatabaseError, InterfaceError):
        logger.exception("The outbox cannot be read.")
        parts["sms"] = "unknown"
    states = [part["status"] if isinstance(part, dict) else part for part in parts.values()]
    well = all(state in ("ok", "inline", "unheard") for state in states)
    return JsonResponse({"status": "ok" if well else "degraded", "parts": parts})


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    # Whatever the driver raises, the answer must still be given.
    except Exception:
        logger.exception("The database does not answer.")
        return "down"
    return "ok"


def _cache() -> str:
    try:
        cache.set("playmatatu_health", 1, 5)
        return "ok" if cache.get("playmatatu_health") == 1 else "down"
    except Exception:
        logger.exception("The cache does not answer.")
        return "down"


def _sms() -> dict[str, Any]:
    config = conf.current()
    if not config.enabled:
        return {"sms": "disabled"}
    now = timezone.now()
    alive, attempts = pulse.workers(now), pulse.last_attempts()
    oldest = pulse.oldest_due(now)
    age = max(0, round((now - oldest).total_seconds())) if oldest else 0
    trouble, _ = pulse.trouble(alive, attempts, now)
    worker = "inline" if config.delivery == "inline" else "ok" if alive else "none"
    if any(one.paused for one in alive):
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
