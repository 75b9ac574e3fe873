"""A person is told: by e-mail to ADMINS and by POST to ALERT_WEBHOOK_URL, once when it begins and once when it ends.

The state is in the database, so that of several workers one tells. Other apps add what they know by `register`.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import requests
from django.conf import settings
from django.core.mail import mail_admins
from django.db.models import Q
from django.utils import timezone

from sms import clock
from sms.models import SmsAlert
from sms.stats import concerns, networks
from sms.text.redaction import redact

logger = logging.getLogger("sms.alerts")

# What is gone and back within that time has not ended: a person is not woken each minute.
QUIET = timedelta(minutes=2)
_BUSY = timedelta(minutes=2)
_TIMEOUT = (3.0, 10.0)


class Condition(NamedTuple):
    """`name`: the same for as long as it lasts; `text`: what is wrong and what to do, in a sentence or two."""

    name: str
    text: str


Source = Callable[[datetime], Iterable[Condition]]
_sources: list[Source] = []


def register(source: Source) -> None:
    """Ask `source` too, with the time, for what is wrong now; call it in an AppConfig's `ready`."""
    if source not in _sources:
        _sources.append(source)


def check(now: datetime | None = None) -> None:
    """Look what is wrong, and tell what has begun or ended. Each minute, by any number of processes."""
    now = now or clock.now()
    present, complete = _present(now)
    for condition in present.values():
        _seen(condition, now)
    if complete:
        over = SmsAlert.objects.filter(ended_at=None, seen_at__lte=now - QUIET).exclude(name__in=present)
        over.update(ended_at=now, mailed=False, posted=False, busy_until=None)
    for alert in SmsAlert.objects.filter(Q(mailed=False) | Q(posted=False)).order_by("since"):
        if _mine(alert, now):
            _tell(alert)
    SmsAlert.objects.filter(ended_at__isnull=False, mailed=True, posted=True).delete()


def _present(now: datetime) -> tuple[dict[str, Condition], bool]:
    """What is wrong, by name; False when a source failed: what it does not say is not over then."""
    found: dict[str, Condition] = {}
    complete = True
    for source in (_sending, _networks, *_sources):
        try:
            found |= {condition.name: condition for condition in source(now)}
        # One that fails must not keep the others from being told.
        except Exception:
            logger.exception("sms.alert_source_failed", extra={"event": "sms.alert_source_failed"})
            complete = False
    return found, complete


def _sending(now: datetime) -> Iterable[Condition]:
    for concern in concerns.found(concerns.read(now)):
        # Switched off by who runs the site: no news to them.
        if concern.name != "off":
            yield Condition(f"sms:{concern.name}", f"{concern.text} {concern.remedy}")


def _networks(now: datetime) -> Iterable[Condition]:
    for slow in networks.in_trouble(now):
        yield Condition(f"network:{slow.network}", slow.words)


def _seen(condition: Condition, now: datetime) -> None:
    news = {"text": redact(condition.text), "since": now, "mailed": False, "posted": False}
    alert, begins = SmsAlert.objects.get_or_create(name=condition.name[:60], defaults=news | {"seen_at": now})
    # One that is back before its end could be told begins anew.
    again = SmsAlert.objects.filter(pk=alert.pk, ended_at__isnull=False).update(**news, ended_at=None, busy_until=None)
    SmsAlert.objects.filter(pk=alert.pk).update(seen_at=now)
    if begins or again:
        logger.critical("sms.alert: %s", news["text"], extra={"event": "sms.alert", "alert": alert.name})


def _mine(alert: SmsAlert, now: datetime) -> bool:
    """Whether this process tells it: one that died while telling loses it after a while."""
    free = SmsAlert.objects.filter(Q(busy_until=None) | Q(busy_until__lt=now), Q(mailed=False) | Q(posted=False))
    return bool(free.filter(pk=alert.pk, ended_at=alert.ended_at).update(busy_until=now + _BUSY))


def _tell(alert: SmsAlert) -> None:
    alert.mailed = alert.mailed or _mailed(alert)
    alert.posted = alert.posted or _posted(alert)
    SmsAlert.objects.filter(pk=alert.pk, ended_at=alert.ended_at).update(
        mailed=alert.mailed, posted=alert.posted, busy_until=None
    )


def _mailed(alert: SmsAlert) -> bool:
    if not settings.ADMINS:
        return True
    word = "over" if alert.ended_at else "begins"
    try:
        mail_admins(f"{word}: {alert.text[:80]}", _letter(alert))
    # A mail server has errors of every kind; it is tried again in a minute.
    except Exception:
        logger.exception("sms.alert_not_mailed", extra={"event": "sms.alert_not_mailed", "alert": alert.name})
        return False
    return True


def _letter(alert: SmsAlert) -> str:
    lines = [alert.text, "", f"Since {timezone.localtime(alert.since):%d.%m.%Y %H:%M}."]
    if alert.ended_at:
        lines.append(f"Over since {timezone.localtime(alert.ended_at):%d.%m.%Y %H:%M}.")
    site = getattr(settings, "SITE_URL", "")
    return "\n".join([*lines, f"{site}/admin/" if site else ""])


def _posted(alert: SmsAlert) -> bool:
    url = getattr(settings, "ALERT_WEBHOOK_URL", "")
    if not url:
        return True
    body = {
        "event": "ends" if alert.ended_at else "begins",
        "name": alert.name,
        "text": f"{'Over: ' if alert.ended_at else ''}{alert.text}",
        "since": alert.since.isoformat(timespec="seconds"),
        "ended_at": alert.ended_at.isoformat(timespec="seconds") if alert.ended_at else None,
        "site": getattr(settings, "SITE_URL", ""),
    }
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(url, json=body, timeout=_TIMEOUT, allow_redirects=False, stream=True)
            answer.close()
    except requests.RequestException as error:
        logger.error("sms.alert_not_posted (%s)", type(error).__name__, extra={"event": "sms.alert_not_posted"})
        return False
    if answer.status_code >= 300:
        logger.error("sms.alert_not_posted (%s)", answer.status_code, extra={"event": "sms.alert_not_posted"})
        return False
    return True
