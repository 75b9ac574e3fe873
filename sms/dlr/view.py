"""The delivery report's view. DMark's method and encoding are not documented: GET, form and JSON are all read."""

import json

from django.contrib.auth.decorators import login_not_required
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import RawPostDataException
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from sms.dlr import statuses
from sms.dmark.dlr_url import signer
from sms.dmark.responses import word_of


@login_not_required
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def delivery_report(request: HttpRequest, signed_id: str) -> HttpResponse:
    """200 when the message is known and the address well signed, with or without a status; else 403 or 404.

    The address says which message it is; a `msg_id` in the body does not.
    """
    try:
        message_id = int(signer().unsign(signed_id))
    except (BadSignature, ValueError):
        return JsonResponse({"error": "This address is not signed by us."}, status=403)
    word = "" if request.method == "HEAD" else _status(request)
    if not statuses.record_report(message_id, word, "push"):
        return JsonResponse({"error": "There is no such message any more."}, status=404)
    return JsonResponse({"status": "received"})


def _status(request: HttpRequest) -> str:
    """The report's `status`, wherever it stands; "" where there is none."""
    value: object = request.GET.get("status")
    if request.method == "POST":
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError, RawPostDataException):
            body = None
        value = body.get("status") if isinstance(body, dict) else request.POST.get("status", value)
    return word_of(value)
