"""View that receives delivery reports.

DMark documents neither the method nor the encoding of its reports. The view accepts GET, form data and JSON.
"""

import logging

from django.contrib.auth.decorators import login_not_required
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from sms import request_body
from sms.dlr import statuses
from sms.dmark.dlr_url import signer
from sms.dmark.responses import clean, status_word

logger = logging.getLogger("sms.delivery")

# One process logs at most this many shapes (sets of field names) of reports without a status.
_MOST_SHAPES = 20
_logged_shapes: set[tuple[str, ...]] = set()


@login_not_required
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def delivery_report(request: HttpRequest, signed_id: str) -> HttpResponse:
    """Store a delivery report on the message that the signed URL identifies.

    Responds 200 even if the report has no status, 403 if the signature is invalid, 404 if the message no longer exists,
    and another 4xx if the body is invalid.
    """
    try:
        message_id = int(signer().unsign(signed_id))
    except (BadSignature, ValueError):
        return JsonResponse({"error": "This URL is not signed by us."}, status=403)
    try:
        word = "" if request.method == "HEAD" else _status(request, message_id)
    except request_body.Refused as refused:
        return JsonResponse({"error": str(refused)}, status=refused.status)
    if not statuses.record_report(message_id, word, "push"):
        return JsonResponse({"error": "This message no longer exists."}, status=404)
    return JsonResponse({"status": "received"})


def _status(request: HttpRequest, message_id: int) -> str:
    """Return the status word from the body, or from the query string, or "". Raises Refused if the body is invalid."""
    report = request_body.read(request) if request.method == "POST" else {}
    word = status_word(report) or status_word(dict(request.GET.items()))
    if not word:
        _log_shape(message_id, sorted({*_names(report), *request.GET}))
    return word


def _names(report: object) -> list[str]:
    while isinstance(report, list):
        report = report[0] if report else None
    return list(report) if isinstance(report, dict) else []


def _log_shape(message_id: int, names: list[str]) -> None:
    """Log the field names of a report without a status, so that operators notice a new format. Log each set once."""
    shape = tuple(clean(name)[:40] for name in names[:_MOST_SHAPES])
    if shape in _logged_shapes or len(_logged_shapes) >= _MOST_SHAPES:
        return
    _logged_shapes.add(shape)
    logger.warning(
        "sms.dlr_without_status: a delivery report on message %s has no status; its fields are: %s",
        message_id,
        ", ".join(shape) or "none",
        extra={"event": "sms.dlr_without_status", "message_id": message_id},
    )
