"""`POST|PUT /api/v1/momo/dmarkpay/<signed payment id>/`: receive DMarkPay's notifications.

The content of a notification is not trusted. A notification only causes a status poll.
"""

import logging

from django.core.exceptions import RequestDataTooBig
from django.core.signing import BadSignature
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from payments.webhooks.address import signer
from payments.webhooks.storage import notice

logger = logging.getLogger("payments")


@csrf_exempt
@require_http_methods(["POST", "PUT"])
def dmarkpay(request: HttpRequest, signed_id: str) -> HttpResponse:
    """Store a notification and have the payment polled. Any body is accepted.

    Respond 403 if the id in the URL is not validly signed, and 404 if the payment no longer exists.
    """
    try:
        payment_id = int(signer().unsign(signed_id))
    except (BadSignature, ValueError):
        return _refused(403, "This address is not signed by us.")
    try:
        body = request.body
    except RequestDataTooBig:
        return _refused(413, "The body is too large: at most 64 KiB.")
    except UnreadablePostError:
        logger.info(
            "payments.notice_cut_short: the body of a notification ended too early",
            extra={"event": "payments.notice_cut_short"},
        )
        return _refused(400, "The body ended too early.")
    if not notice(payment_id, body):
        return _refused(404, "This payment no longer exists.")
    return JsonResponse({"status": "received"})


def _refused(code: int, sentence: str) -> HttpResponse:
    return JsonResponse({"error": sentence, "fields": {}}, status=code)
