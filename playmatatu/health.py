"""`GET /api/v1/health`: by part; `down` only without a database."""

import logging
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Router

from game.schemas import Health
from sms import conf
from sms.models import SmsMessage, Status

logger = logging.getLogger("playmatatu.health")
router = Router(tags=["operation"])


@router.api_operation(["GET", "HEAD"], "/health", response={200: Health, 503: Health}, summary="Is the service well?")
def health(request: HttpRequest) -> HttpResponse:
    parts: dict[str, Any] = {"database": _database(), "cache": _cache(), "sms": _sms()}
    if parts["database"] != "ok":
        return JsonResponse({"status": "down", "parts": parts}, status=503)
    well = parts["cache"] == "ok" and parts["sms"] == "ok"
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


def _sms() -> str:
    if not conf.current().enabled:
        return "disabled"
    try:
        waiting = SmsMessage.objects.filter(status=Status.QUEUED).exists()
    except Exception:
        logger.exception("The outbox cannot be read.")
        return "unknown"
    return "waiting" if waiting and conf.current().delivery == "inline" else "ok"
