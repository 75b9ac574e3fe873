"""The `dlr_url` of a message: the signed URL on this site to which DMark sends the message's delivery reports."""

import base64
import hashlib
import hmac
from functools import lru_cache

from django.conf import settings
from django.core.signing import Signer
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.encoding import force_bytes

from sms import conf

_PLACEHOLDER = "SIGNED-ID"
_SALT = "sms.dlr"


def dlr_url(message_id: int, config: conf.Config | None = None) -> str:
    """Return the URL for delivery reports on a message, or "" if this site cannot receive delivery reports."""
    config = config or conf.current()
    if not config.dlr_enabled or not config.site_url:
        return ""
    urlconf = getattr(settings, "ROOT_URLCONF", "")
    path = _report_path(urlconf, get_script_prefix()) if urlconf else ""
    if not path:
        return ""
    return config.site_url + path.replace(_PLACEHOLDER, _sign(str(message_id))) + config.dlr_url_suffix


@lru_cache(maxsize=8)
def _report_path(urlconf: str, prefix: str) -> str:
    """Return the URL path for delivery reports with a placeholder for the signed id, or "" if there is no such path."""
    try:
        return reverse("sms:dlr", urlconf=urlconf, args=[_PLACEHOLDER])
    except NoReverseMatch:
        return ""


def signer() -> Signer:
    return Signer(sep=".", salt=_SALT)


def _sign(value: str) -> str:
    """Return the same as `signer().sign(value)`. The signing key is cached, so this is faster."""
    digest = hmac.digest(_key(settings.SECRET_KEY), value.encode(), "sha256")
    return f"{value}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@lru_cache(maxsize=4)
def _key(secret: "str | bytes") -> bytes:
    return hashlib.sha256(f"{_SALT}signer".encode() + force_bytes(secret)).digest()
