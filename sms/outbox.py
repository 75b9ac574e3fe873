"""The outbox: `queue_sms` joins the caller's transaction, `send_sms` sends now; and what both share with the worker.

A text's way: a row `queued` → claimed, `sending` with a lease → asked whether it may go → the conversation with DMark
→ `record` writes the outcome. Only a row that its claimer still holds takes a failure; an acceptance always counts.
"""

import logging
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from sms import clock, conf, owners
from sms.dmark.exchange import facts, fields
from sms.errors import InDoubt, NeverTexted, SmsDisabled, SmsError
from sms.models import ACCEPTED, RESENDABLE, SmsEvent, SmsMessage, SmsSuppression, Status
from sms.sending import claims, pauses
from sms.sending.inline import attempt
from sms.sending.results import record
from sms.text.phone import to_e164
from sms.text.redaction import BLANKED, blank_link, has_link, redact
from sms.text.segments import segments

logger = logging.getLogger("sms.outbox")

CHANNEL = "sms_outbox"
NOTIFY_EVERY = 0.01
_last_notify = 0.0
_HANDFUL = 500


def queue_sms(
    phone: str | int, text: str, *, kind: str = "", dedupe_key: str | None = None, expires_at: datetime | None = None
) -> SmsMessage:
    """Write one text to the outbox; it leaves after commit, inline, by the worker or by a task.

    With a `dedupe_key` that exists already: that message, and nothing is sent; an empty one is none. One to a number
    that is never texted is `cancelled` from the start. Raises InvalidPhone or ValueError before any row is written.
    """
    message = _new(phone, text, kind, dedupe_key or None, expires_at)
    if message.status == Status.QUEUED and (never := pauses.never_texted(message.phone)):
        message.status, message.error = Status.CANCELLED, str(never)
    try:
        # In a savepoint: the unique key decides a race, and its error must not end the caller's transaction.
        with transaction.atomic():
            message.save(force_insert=True)
    except IntegrityError:
        if message.dedupe_key is None:
            raise
        return _first_of(message)
    if message.status == Status.QUEUED:
        _set_off([message.pk])
    return message


def send_sms(phone: str | int, text: str, *, kind: str = "") -> SmsMessage:
    """Send one text now, in either mode. Raises SmsError with the reason; the row keeps it too.

    Raises RuntimeError inside an atomic block: rolled back, it would leave a text that was sent and no row of it.
    """
    message = _new(phone, text, kind, None, None)
    if message.status == Status.DISABLED:
        _keep(message)
        raise SmsDisabled
    if refusal := pauses.refusal(message.phone, kind):
        message.status = Status.CANCELLED if isinstance(refusal, NeverTexted) else Status.FAILED
        message.error = str(refusal)
        _keep(message)
        raise refusal
    config = conf.current()
    message.status, message.claim = Status.SENDING, uuid.uuid4().hex
    message.lease_until = clock.now() + timedelta(seconds=config.lease + config.longest_send)
    _keep(message)
    outcome = attempt(message)
    record([outcome])
    message.refresh_from_db()
    if message.status in ACCEPTED:  # also where a report has come meanwhile
        return message
    if message.status == Status.UNKNOWN:
        raise InDoubt(message.error)
    raise outcome.reason or SmsError(message.error)


# For async views: in the thread where Django keeps their database connection. A transaction cannot be open there, so
# `aqueue_sms` commits by itself.
aqueue_sms = sync_to_async(queue_sms)
asend_sms = sync_to_async(send_sms)


def _keep(message: SmsMessage) -> None:
    """Write the row for good. Raises RuntimeError where a transaction around it could take it back."""
    try:
        with transaction.atomic(durable=True):
            message.save(force_insert=True)
    except RuntimeError as error:
        raise RuntimeError(
            "send_sms may not be called inside an atomic block, whose rollback would lose its row: "
            "call it after the block, or use queue_sms, which joins the transaction."
        ) from error


def _first_of(message: SmsMessage) -> SmsMessage:
    """The message that has this one's dedupe key already."""
    first = SmsMessage.objects.get(dedupe_key=message.dedupe_key)
    # A text that was emptied or lost its link since is no other text.
    other = first.text and blank_link(first.text) != blank_link(message.text)
    if first.phone != message.phone or other:
        values = fields(first, "sms.dedupe_key_reused")
        key = redact(str(message.dedupe_key))
        logger.warning(
            "sms.dedupe_key_reused: %s has %r already, so another text is dropped", facts(values), key, extra=values
        )
    return first


def deliver(message_id: int) -> None:
    """Claim one queued text and send it in this process; nothing happens if another has it already."""
    config = conf.current()
    for message in claims.claim(uuid.uuid4().hex, 1, config.lease + config.longest_send, message_id):
        record([attempt(message)])


def resend(rows: "QuerySet[SmsMessage]", actor: str) -> list[int]:
    """Queue again what did not arrive; two orders at once send one. Returns the ids that this call queued.

    What is past its time gets a new hour, unless its link is blanked already, or its app says that it is no longer
    worth sending: such a text is left alone.
    """
    if not conf.current().enabled:
        raise SmsDisabled
    queued = []
    for message in _worth_resending(rows):
        now = clock.now()
        expires_at = max(message.expires_at, now + timedelta(seconds=conf.current().life))
        with transaction.atomic():
            if not SmsMessage.objects.filter(pk=message.pk, status__in=RESENDABLE).update(
                status=Status.QUEUED,
                due_at=now,
                expires_at=expires_at,
                retries=0,
                doubts=0,
                error="",
                claim="",
                lease_until=None,
            ):
                continue
            SmsEvent.objects.create(message_id=message.pk, what=SmsEvent.What.RESEND, actor=actor[:150])
            _set_off([message.pk])
        queued.append(message.pk)
    return queued


def resendable(rows: "QuerySet[SmsMessage]") -> "QuerySet[SmsMessage]":
    """Those of `rows` that may be sent again."""
    able = rows.filter(status__in=RESENDABLE).exclude(text="").exclude(text__contains=BLANKED)
    return able.exclude(phone__in=SmsSuppression.objects.values("phone"))


def worth_resending(rows: "QuerySet[SmsMessage]") -> list[int]:
    """The ids of those of `rows` that may be sent again, and are still worth it."""
    return [message.pk for message in _worth_resending(rows)]


def _worth_resending(rows: "QuerySet[SmsMessage]") -> Iterator[SmsMessage]:
    """In handfuls: a whole day's texts may be ordered at once."""
    ids = list(resendable(rows).values_list("pk", flat=True))
    for start in range(0, len(ids), _HANDFUL):
        chosen = SmsMessage.objects.filter(pk__in=ids[start : start + _HANDFUL])
        handful = list(chosen.only("pk", "dedupe_key", "expires_at"))
        worth = owners.worth_sending(handful)
        yield from (message for message in handful if message.pk in worth)


def _new(phone: object, text: object, kind: str, dedupe_key: str | None, expires_at: datetime | None) -> SmsMessage:
    number = to_e164(phone)
    if not isinstance(text, str) or not text.strip():
        raise ValueError("The text of an SMS must not be empty.")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("The text of an SMS must not hold NUL or lone surrogates.")
    for name, value, longest in (("kind", kind, 40), ("dedupe_key", dedupe_key or "", 200)):
        if len(value) > longest or "\0" in value:
            raise ValueError(f"The {name} of an SMS has at most {longest} characters, and no NUL.")
    now = clock.now()
    return SmsMessage(
        phone=number,
        text=text,
        kind=kind,
        status=Status.QUEUED if conf.current().enabled else Status.DISABLED,
        dedupe_key=dedupe_key,
        created_at=now,
        due_at=now,
        expires_at=expires_at or now + timedelta(seconds=conf.current().life),
        segments=min(segments(text).count, 32767),
        holds_link=has_link(text),
    )


def _set_off(message_ids: list[int]) -> None:
    """See to it that the texts leave after commit: here, or by a worker that is told of them."""
    if conf.current().delivery == "worker":
        # Once a transaction; what a crash keeps untold the worker's poll finds.
        if connection.vendor == "postgresql" and not any(call[1] is _notify for call in connection.run_on_commit):
            transaction.on_commit(_notify, robust=True)
        return
    send = deliver
    if conf.current().delivery == "tasks":
        # Not before it is asked for: on Django 5.2 it needs a package of its own.
        from sms.tasks import hand_over as send
    for message_id in message_ids:
        transaction.on_commit(partial(send, message_id), robust=True)


def _notify() -> None:
    """Wake the workers; at most once in NOTIFY_EVERY, since PostgreSQL lets one transaction at a time commit a NOTIFY.

    A worker looks a second time after each, so that what is not told of is not left to its poll.
    """
    global _last_notify
    now = time.monotonic()
    if now < _last_notify + NOTIFY_EVERY:
        return
    _last_notify = now
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")
