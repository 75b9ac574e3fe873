"""Build the URL to which DMarkPay sends notifications about a payment. The URL contains the signed payment id."""

from django.conf import settings
from django.core.signing import Signer
from django.urls import NoReverseMatch, reverse


def notice_url(payment_id: int) -> str:
    """Return the notification URL of a payment.

    Return "" if SITE_URL is empty or the URLconf does not include `payments`. The status is then found only by polling.
    """
    site = str(settings.SITE_URL).rstrip("/")
    if not site:
        return ""
    try:
        return site + reverse("payments:dmarkpay", args=[signer().sign(str(payment_id))])
    except NoReverseMatch:
        return ""


def signer() -> Signer:
    return Signer(sep=".", salt="payments.dmarkpay")
