"""View for inbound SMS. DMark's older host posts a form with `msisdn`, `text`, `short_code` and `tstamp`."""

import json

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from sms import conf, request_body
from sms.errors import InvalidPhone
from sms.inbound.receiving import receive
from sms.text.phone import to_e164


@login_not_required
@csrf_exempt
@require_POST
def inbound(request: HttpRequest, secret: str) -> HttpResponse:
    """Receive an inbound SMS.

    Responds 404 for a wrong secret, another 4xx for an invalid body, text or number, and otherwise 200.
    """
    expected = conf.current().inbound_secret
    if not expected or not constant_time_compare(secret, expected):
        return JsonResponse({"error": "Not found."}, status=404)
    try:
        fields = _fields(request)
    except request_body.Refused as refused:
        return JsonResponse({"error": str(refused)}, status=refused.status)
    if "text" not in fields:
        return JsonResponse({"error": "text is missing.", "fields": {"text": "This field is missing."}}, status=400)
    try:
        phone = to_e164(fields.get("msisdn", ""))
    except InvalidPhone as error:
        return JsonResponse({"error": str(error), "fields": {"msisdn": str(error)}}, status=400)
    receive(phone, fields["text"], fields.get("short_code", ""), fields.get("tstamp", ""))
    return JsonResponse({"status": "received"})


def _fields(request: HttpRequest) -> dict[str, str]:
    """Return the fields of a form or of a JSON object, with lower-case names. Raises Refused."""
    body = request_body.read(request)
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        values = dict(request.POST.items())
    return {
        str(name).strip().lower(): str(value)
        for name, value in values.items()
        if isinstance(value, str | int) and not isinstance(value, bool)
    }
