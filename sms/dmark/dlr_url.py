"""Where DMark is to report on a message: an address of ours that names the message and is signed."""

import base64
import hashlib
import hmac
from functools import lru_cache

from django.conf import settings
from django.core.signing import Signer
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.encoding import force_bytes

from sms import conf


def dlr_url(message_id: int, config: conf.Config | None = None) -> str:
    """Where DMark is to report on this message; "" where reports are off or have no address."""
    config = config or conf.current()
    if not config.dlr_enabled or not config.site_url:
        return ""
    urlconf = getattr(settings, "ROOT_URLCONF", "")
    path = _report_path(urlconf, get_script_prefix()) if urlconf else ""
    return config.site_url + path.replace(_PLACE, _sign(str(message_id))) if path else ""


_PLACE = "SIGNED-ID"


@lru_cache(maxsize=8)
def _report_path(urlconf: str, prefix: str) -> str:
    """The report's path with a place for the signed id; "" where `sms.urls` is not mounted."""
    try:
        return reverse("sms:dlr", urlconf=urlconf, args=[_PLACE])
    except NoReverseMatch:
        return ""


_SALT = "sms.dlr"


def signer() -> Signer:
    return Signer(sep=".", salt=_SALT)


def _sign(value: str) -> str:
    """As `signer().sign(value)`, which for each text looks up its settings and derives its key anew."""
    digest = hmac.digest(_key(settings.SECRET_KEY), value.encode(), "sha256")
    return f"{value}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@lru_cache(maxsize=4)
def _key(secret: "str | bytes") -> bytes:
    return hashlib.sha256(f"{_SALT}signer".encode() + force_bytes(secret)).digest()
