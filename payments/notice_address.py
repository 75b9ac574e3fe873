"""Where DMarkPay is to tell of a payment: an address of ours that names the payment and is signed."""

from django.conf import settings
from django.core.signing import Signer
from django.urls import NoReverseMatch, reverse


def notice_url(payment_id: int) -> str:
    """ "" where there is no such address; then asking back alone must do."""
    site = str(settings.SITE_URL).rstrip("/")
    if not site:
        return ""
    try:
        return site + reverse("payments:dmarkpay", args=[signer().sign(str(payment_id))])
    except NoReverseMatch:
        return ""


def signer() -> Signer:
    return Signer(sep=".", salt="payments.dmarkpay")
