"""The address to which DMarkPay sends the notifications of a payment. It has the payment's id, signed."""

from django.conf import settings
from django.core.signing import Signer
from django.urls import NoReverseMatch, reverse


def notice_url(payment_id: int) -> str:
    """Return the address, or "" without SITE_URL or without the URLs. Then only polling finds the status."""
    site = str(settings.SITE_URL).rstrip("/")
    if not site:
        return ""
    try:
        return site + reverse("payments:dmarkpay", args=[signer().sign(str(payment_id))])
    except NoReverseMatch:
        return ""


def signer() -> Signer:
    return Signer(sep=".", salt="payments.dmarkpay")
