"""Inbound SMS: messages that people send to the provider's number. STOP and START change the suppression list.

DMark's older host posts a form with the fields `msisdn`, `text`, `short_code` and `tstamp`.
"""

import hashlib
import logging
import re
import unicodedata
from datetime import datetime, timedelta

from django.contrib.auth.decorators import login_not_required
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.dateparse import parse_datetime
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from sms import clock, conf, request_body, suppression
from sms.dmark.responses import clean
from sms.errors import InvalidPhone
from sms.models import SmsInbound
from sms.signals import sms_received
from sms.text.phone import to_e164
from sms.text.redaction import mask_phone

logger = logging.getLogger("sms.inbound")

KEPT = timedelta(days=30)
LONGEST_TEXT = 1000
# The largest number of inbound SMS stored per phone number and hour. STOP and START are not limited.
MOST_PER_HOUR = 30

_SWITCHES = (SmsInbound.Command.STOP, SmsInbound.Command.START)


@login_not_required
@csrf_exempt
@require_POST
def inbound(request: HttpRequest, secret: str) -> HttpResponse:
    """Receive an inbound SMS. Responds 404 for a wrong secret, and another 4xx for an invalid body or number."""
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
    """Return the fields of a form or a JSON object, with lower-case names. Raises Refused if the body is unreadable."""
    values = request_body.read(request)
    return {
        str(name).strip().lower(): str(value)
        for name, value in (values.items() if isinstance(values, dict) else ())
        if isinstance(value, str | int) and not isinstance(value, bool)
    }


def receive(phone: str, text: str, short_code: str, timestamp: str) -> SmsInbound | None:
    """Store an inbound SMS and carry out its command. `phone`: E.164. `timestamp`: ISO 8601, as received.

    Returns None if the SMS is not stored: it is a repeated delivery, or the phone has sent too many (MOST_PER_HOUR).
    """
    now = clock.now()
    message = SmsInbound(
        phone=phone,
        text=clean(text)[:LONGEST_TEXT],
        short_code=clean(short_code)[:40],
        command=read_command(text),
        sent_at=max(min(_time(timestamp) or now, now), now - KEPT),
        received_at=now,
        # Without a timestamp, the same text from the same number in the same minute counts as a repeated delivery.
        digest=_digest(phone, text, short_code, timestamp or now.isoformat(timespec="minutes")),
    )
    stored = _store(message)
    if message.command in _SWITCHES:
        # If the provider repeats a STOP or START, obey it again, because a crash may have ended the first attempt.
        _obey(phone)
    if not stored:
        return None
    sms_received.send_robust(SmsInbound, message=message)
    return message


def prune(now: datetime) -> int:
    """Delete inbound messages older than 30 days, and return their number. The suppression list is kept."""
    deleted, _ = SmsInbound.objects.filter(received_at__lt=now - KEPT).delete()
    return deleted


def _store(message: SmsInbound) -> bool:
    """Insert the row. Returns False if the SMS is already stored or exceeds MOST_PER_HOUR."""
    recent = SmsInbound.objects.filter(phone=message.phone, received_at__gt=message.received_at - timedelta(hours=1))
    if message.command not in _SWITCHES and recent.count() >= MOST_PER_HOUR:
        logger.warning(
            "sms.inbound_flood: over %s inbound messages from %s in an hour; this one is not stored",
            MOST_PER_HOUR,
            mask_phone(message.phone),
            extra={"event": "sms.inbound_flood", "phone": mask_phone(message.phone)},
        )
        return False
    try:
        with transaction.atomic():
            message.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _obey(phone: str) -> None:
    """Apply the newest STOP or START from this phone number to the suppression list.

    The number's STOPs and STARTs are locked, so that the second of two concurrent calls sees both messages.
    """
    with transaction.atomic():
        switches = SmsInbound.objects.select_for_update().filter(phone=phone, command__in=_SWITCHES)
        last = max(switches, key=lambda message: (message.sent_at, message.pk))
        if last.command == SmsInbound.Command.STOP:
            changed = suppression.stop(phone, "The person sent STOP by SMS.")
        else:
            changed = suppression.start(phone)
    if changed:
        logger.info(
            "sms.inbound_command: %s sent %s, which changed the suppression list",
            mask_phone(phone),
            last.command.upper(),
            extra={"event": "sms.inbound_command", "phone": mask_phone(phone), "command": last.command},
        )


def _time(timestamp: str) -> datetime | None:
    try:
        at = parse_datetime(timestamp.strip())
    except ValueError:
        return None
    return timezone.make_aware(at) if at and timezone.is_naive(at) else at


def _digest(*fields: str) -> str:
    return hashlib.sha256("\0".join(fields).encode("utf-8", "replace")).hexdigest()


Command = SmsInbound.Command

# A text that begins with one of these words, and has at most four words, is a STOP.
_STOP_FIRST = frozenset("stop stopall unsubscribe optout sitisha lekera lekeraawo lekerawo komya".split())
# Phrases that are a command only if the text contains nothing else, because an ordinary text may begin with such a
# phrase.
_WHOLE = {
    Command.STOP: frozenset(
        (
            "stop all", "opt out", "end", "quit", "cancel", "remove", "remove me", "no more", "please stop",
            "acha", "acheni", "acha kutuma", "tafadhali acha", "koma", "simama", "ondoa", "niondoe", "usinitumie",
            "sazaamu", "muleke",
        )
    ),
    Command.START: frozenset(
        (
            "start", "unstop", "subscribe", "resume", "opt in", "optin", "continue",
            "anza", "endelea",
            "tandika", "ddamu",
        )
    ),
    Command.HELP: frozenset(
        ("help", "info", "help me", "msaada", "saidia", "nisaidie", "obuyambi", "yamba", "nnyamba", "nyamba")
    ),
}  # fmt: skip
_MOST_WORDS = 4


def read_command(text: str) -> Command:
    """Return the command in a text, or NONE if there is no command. Case, accents and punctuation are ignored."""
    plain = unicodedata.normalize("NFKD", text[:200]).casefold().replace("'", "").replace("\u2019", "")
    words = re.findall(r"\w+", "".join(char for char in plain if not unicodedata.combining(char)))
    if not words or len(words) > _MOST_WORDS:
        return Command.NONE
    if words[0] in _STOP_FIRST:
        return Command.STOP
    whole = " ".join(words)
    return next((command for command, phrases in _WHOLE.items() if whole in phrases), Command.NONE)
