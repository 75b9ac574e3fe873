"""Alerts by e-mail (ADMINS) and webhook (ALERT_WEBHOOK_URL), sent when a problem begins and when it ends.

The state of each alert is stored in the database, so that only one of several processes sends the alert.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import requests
from django.conf import settings
from django.core.mail import mail_admins
from django.db.models import Q

from sms import clock
from sms.formats import moment
from sms.models import SmsAlert
from sms.stats import by_network, status
from sms.text.redaction import redact

logger = logging.getLogger("sms.alerts")

# A problem counts as ended after an absence of this length, so that a problem that comes and goes causes one alert.
QUIET = timedelta(minutes=2)
_BUSY = timedelta(minutes=2)
# Delay before the alert about a missing worker. A restart of the worker takes some seconds.
_RESTART = timedelta(seconds=30)
_TIMEOUT = (3.0, 10.0)


class Condition(NamedTuple):
    """A problem that exists now and about which operators are alerted.

    `name`: stays the same while the problem lasts. `text`: the problem and the operator's next step. `patience`: how
    long the problem must last before an alert is sent.
    """

    name: str
    text: str
    patience: timedelta = timedelta(0)


Source = Callable[[datetime], Iterable[Condition]]
_sources: list[Source] = []


def register(source: Source) -> None:
    """Add a source of alerts. Call this in an AppConfig's `ready`."""
    if source not in _sources:
        _sources.append(source)


def check(now: datetime | None = None) -> None:
    """Send alerts about problems that have begun or ended. Call this each minute. Several processes may call it."""
    now = now or clock.now()
    present, complete = _present(now)
    for condition in present.values():
        _seen(condition, now)
    if complete:
        absent = SmsAlert.objects.filter(ended_at=None).exclude(name__in=present)
        # These problems ended before an alert about them was due, so no alert is needed.
        absent.filter(claimed=False, busy_until__isnull=False).delete()
        absent.filter(seen_at__lte=now - QUIET).update(ended_at=now, mailed=False, posted=False, busy_until=None)
    current = SmsAlert.objects.filter(Q(name__in=present) | Q(ended_at__isnull=False))
    for alert in current.filter(Q(mailed=False) | Q(posted=False)).order_by("since"):
        if _claim(alert, now):
            _send(alert)
    SmsAlert.objects.filter(ended_at__isnull=False, mailed=True, posted=True).delete()


def _present(now: datetime) -> tuple[dict[str, Condition], bool]:
    """Return the current conditions by name, and True unless a source failed."""
    found: dict[str, Condition] = {}
    complete = True
    for source in (_sending, _networks, *_sources):
        try:
            found |= {condition.name: condition for condition in source(now)}
        # A failing source must not suppress the alerts of the other sources.
        except Exception:
            logger.exception(
                "sms.alert_source_failed: one source of alerts failed", extra={"event": "sms.alert_source_failed"}
            )
            complete = False
    return found, complete


def _sending(now: datetime) -> Iterable[Condition]:
    for concern in status.concerns(status.read(now)):
        # If SMS is off, the operators have switched it off themselves and need no alert.
        if concern.name != "off":
            patience = _RESTART if concern.name == "no_worker" else timedelta(0)
            yield Condition(f"sms:{concern.name}", f"{concern.text} {concern.remedy}", patience)


def _networks(now: datetime) -> Iterable[Condition]:
    for concern in by_network.concerns(by_network.in_trouble(now)):
        yield Condition(concern.name, f"{concern.text} {concern.remedy}")


def _seen(condition: Condition, now: datetime) -> None:
    silent_until = now + condition.patience if condition.patience else None
    begin = {"text": redact(condition.text), "since": now, "mailed": False, "posted": False, "busy_until": silent_until}
    alert, _ = SmsAlert.objects.get_or_create(name=condition.name[:60], defaults=begin | {"seen_at": now})
    # If the problem occurs again before the alert about its end was sent, send a new alert about its beginning instead.
    SmsAlert.objects.filter(pk=alert.pk, ended_at__isnull=False).update(**begin, ended_at=None)
    SmsAlert.objects.filter(pk=alert.pk).update(seen_at=now)


def _claim(alert: SmsAlert, now: datetime) -> bool:
    """Claim the alert for this process. Return False if it was claimed or sent already, or is not due yet.

    The claim expires after 2 minutes (_BUSY), in case this process is killed.
    """
    free = SmsAlert.objects.filter(Q(busy_until=None) | Q(busy_until__lt=now), Q(mailed=False) | Q(posted=False))
    return bool(free.filter(pk=alert.pk, ended_at=alert.ended_at).update(busy_until=now + _BUSY, claimed=True))


def _send(alert: SmsAlert) -> None:
    if not alert.ended_at:
        logger.critical("sms.alert: %s", alert.text, extra={"event": "sms.alert", "alert": alert.name})
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
        mail_admins(f"{word}: {alert.text[:80]}", _mail_body(alert))
    # Each mail backend raises its own exceptions. The next check tries to send the alert again.
    except Exception:
        logger.exception(
            "sms.alert_not_mailed: the mail server did not accept an alert",
            extra={"event": "sms.alert_not_mailed", "alert": alert.name},
        )
        return False
    return True


def _mail_body(alert: SmsAlert) -> str:
    lines = [alert.text, "", f"Since {moment(alert.since)}."]
    if alert.ended_at:
        lines.append(f"Over since {moment(alert.ended_at)}.")
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
        problem = f"the webhook answered {answer.status_code}" if answer.status_code >= 300 else ""
    except requests.RequestException as error:
        problem = f"the webhook failed ({type(error).__name__})"
    if problem:
        logger.error("sms.alert_not_posted: %s", problem, extra={"event": "sms.alert_not_posted"})
    return not problem


def send_now(name: str, text: str) -> bool:
    """Send an alert without using the database, which may be down. Return False if the e-mail or the webhook failed."""
    alert = SmsAlert(name=name, text=redact(text), since=datetime.now(timezone.utc))
    return all([_mailed(alert), _posted(alert)])
