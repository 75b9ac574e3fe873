"""The outbox: `queue_sms` joins the caller's transaction, `send_sms` sends now.

The steps of a message: `queued` → claimed (`sending`, with a lease) → eligibility → conversation with DMark → result
recorded. A failure is recorded only if the row is still claimed by the same claimer. An acceptance always counts.
"""

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from sms import clock, conf, owners, suppression
from sms.dmark.exchange import facts, fields
from sms.errors import InDoubt, NeverTexted, NotDmarks, SmsDisabled, SmsError
from sms.models import ACCEPTED, RESENDABLE, SmsEvent, SmsMessage, Status
from sms.sending import claims, pauses
from sms.sending.inline import attempt
from sms.sending.results import record
from sms.sending.retries import pauses_all, settle
from sms.text.phone import to_e164
from sms.text.redaction import BLANKED, blank_link, has_link, redact
from sms.text.segments import segments

logger = logging.getLogger("sms.outbox")

CHANNEL = "sms_outbox"
NOTIFY_EVERY = 0.01
_last_notify = 0.0
_CHUNK = 500


def queue_sms(
    phone: str | int, text: str, *, kind: str = "", dedupe_key: str | None = None, expires_at: datetime | None = None
) -> SmsMessage:
    """Write one message to the outbox. It is sent after commit: inline, by the worker or by a task.

    If `dedupe_key` exists already, the existing message is returned and nothing is sent. An empty key counts as none. A
    message to a suppressed number is `cancelled` at once. Raises InvalidPhone or ValueError before a row is written.
    """
    message = _new(phone, text, kind, dedupe_key or None, expires_at)
    if message.status == Status.QUEUED and (refusal := suppression.refusal(message.phone, message.kind)):
        message.status, message.error = Status.CANCELLED, str(refusal)
    try:
        # The savepoint keeps the caller's transaction usable if another process has inserted the same dedupe key.
        with transaction.atomic():
            _insert(message)
    except IntegrityError:
        if message.dedupe_key is None:
            raise
        return _first_of(message)
    if message.status == Status.QUEUED:
        _send_after_commit(message.pk)
    return message


class NewMessage(NamedTuple):
    """A message for `queue_many`, with the arguments of `queue_sms`."""

    phone: str | int
    text: str
    kind: str = ""
    dedupe_key: str | None = None
    expires_at: datetime | None = None


def queue_many(messages: Sequence[NewMessage]) -> None:
    """Write several messages to the outbox; with worker delivery in one statement and without a query before it.

    A message whose `dedupe_key` exists is skipped. A message to a suppressed number stays queued until the worker
    cancels it. Raises InvalidPhone or ValueError before a row is written.
    """
    rows = [_new(one.phone, one.text, one.kind, one.dedupe_key or None, one.expires_at) for one in messages]
    if conf.current().delivery != "worker":
        for phone, text, kind, dedupe_key, expires_at in messages:
            queue_sms(phone, text, kind=kind, dedupe_key=dedupe_key, expires_at=expires_at)
        return
    for row in rows:
        row.due_at = clock.Now()
    SmsMessage.objects.bulk_create(rows, ignore_conflicts=True)
    if any(row.status == Status.QUEUED for row in rows):
        _notify_after_commit()


def send_sms(phone: str | int, text: str, *, kind: str = "") -> SmsMessage:
    """Send one message now, whatever SMS_DELIVERY is. Raises SmsError with the reason, which the row keeps too.

    Raises InDoubt if DMark may have the message: do not send it again. Raises RuntimeError inside an atomic block,
    since a rollback would delete the row of a message that was sent.
    """
    message = _new(phone, text, kind, None, None)
    if message.status == Status.DISABLED:
        _insert_durably(message)
        raise SmsDisabled
    if refusal := pauses.refusal(message.phone, kind):
        message.status = Status.CANCELLED if isinstance(refusal, NeverTexted) else Status.FAILED
        message.error = str(refusal)
        _insert_durably(message)
        raise refusal
    config = conf.current()
    message.status, message.claim = Status.SENDING, uuid.uuid4().hex
    message.lease_until = clock.now() + timedelta(seconds=config.lease + config.longest_send)
    _insert_durably(message)
    outcome = attempt(message)
    record([outcome])
    message.refresh_from_db()
    if message.status in ACCEPTED:  # A delivery report may have arrived before the result.
        return message
    if message.status == Status.UNKNOWN and not isinstance(outcome.reason, NotDmarks):
        raise InDoubt(message.error, getattr(outcome.reason, "status_code", None)) from outcome.reason
    raise outcome.reason or SmsError(message.error)


# For async views. They run in the thread that holds Django's database connection. No transaction can be open there, so
# `aqueue_sms` commits immediately.
aqueue_sms = sync_to_async(queue_sms)
asend_sms = sync_to_async(send_sms)


def _insert(message: SmsMessage) -> None:
    """Insert the row with `due_at` from the database's own clock, which also decides if a message is due."""
    message.due_at = clock.Now()
    message.save(force_insert=True)
    message.due_at = message.created_at


def _insert_durably(message: SmsMessage) -> None:
    """Insert and commit the row. Raises RuntimeError if a surrounding transaction could roll it back."""
    try:
        with transaction.atomic(durable=True):
            _insert(message)
    except RuntimeError as error:
        raise RuntimeError(
            "send_sms may not be called inside an atomic block, whose rollback would lose its row: "
            "call it after the block, or use queue_sms, which joins the transaction."
        ) from error


def _first_of(message: SmsMessage) -> SmsMessage:
    """Return the existing message with the same dedupe key. Logs a warning if it is a different message."""
    first = SmsMessage.objects.get(dedupe_key=message.dedupe_key)
    # The stored text may have been erased, or its link blanked. Neither makes it a different message.
    other = first.text and blank_link(first.text) != blank_link(message.text)
    if first.phone != message.phone or other:
        values = fields(first, "sms.dedupe_key_reused")
        key = redact(str(message.dedupe_key))
        logger.warning(
            "sms.dedupe_key_reused: message %s has %r already; a different message is not sent",
            facts(values),
            key,
            extra=values,
        )
    return first


def deliver(message_id: int) -> None:
    """Claim one queued message and send it in this process. Does nothing if another process has claimed it."""
    config = conf.current()
    for message in claims.claim(uuid.uuid4().hex, 1, config.lease + config.longest_send, message_id, due_only=False):
        record([attempt(message)])


def deliver_due() -> SmsError | None:
    """Send the due messages one after the other, for `sms_worker --once` without pycurl.

    Returns the error that pauses all sending (credentials or account refused), or None.
    """
    config = conf.current()
    claims.free_leases_over_before(clock.now())
    while rows := claims.claim(uuid.uuid4().hex, 1, config.lease + config.longest_send):
        result = settle(attempt(rows[0]))
        record([result])
        if pauses_all(result.reason):
            return result.reason
    return None


def resend(rows: "QuerySet[SmsMessage]", actor: str) -> list[int]:
    """Queue messages again that did not arrive. Returns the ids queued by this call.

    Two calls at once queue a message once. An expired message gets a new lifetime of SMS_LIFE_SECONDS. Messages whose
    link is blanked, and messages that their owner no longer wants sent, are skipped.
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
                due_at=clock.Now(),
                expires_at=expires_at,
                retries=0,
                ambiguous_requests=0,
                error="",
                claim="",
                lease_until=None,
                # Cleared: a poll with the former request's id would end this message with the former request's report.
                provider_id="",
                sent_at=None,
                polled_at=None,
            ):
                continue
            SmsEvent.objects.create(message_id=message.pk, what=SmsEvent.What.RESEND, actor=actor[:150])
            _send_after_commit(message.pk)
        queued.append(message.pk)
    return queued


def resendable(rows: "QuerySet[SmsMessage]") -> "QuerySet[SmsMessage]":
    """Return the messages of `rows` that can be sent again."""
    able = rows.filter(status__in=RESENDABLE).exclude(text="").exclude(text__contains=BLANKED)
    return able.exclude(pk__in=suppression.suppressed(able).values("pk"))


def worth_resending(rows: "QuerySet[SmsMessage]") -> list[int]:
    """Return the ids of the messages of `rows` that can be sent again and that their owners still want sent."""
    return [message.pk for message in _worth_resending(rows)]


def _worth_resending(rows: "QuerySet[SmsMessage]") -> Iterator[SmsMessage]:
    ids = list(resendable(rows).values_list("pk", flat=True))
    for start in range(0, len(ids), _CHUNK):
        chosen = SmsMessage.objects.filter(pk__in=ids[start : start + _CHUNK])
        chunk = list(chosen.only("pk", "dedupe_key", "expires_at"))
        worth = owners.worth_sending(chunk)
        yield from (message for message in chunk if message.pk in worth)


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


def _send_after_commit(message_id: int) -> None:
    """Arrange that the message is sent after commit: in this process, by a task, or by a worker that is notified."""
    delivery = conf.current().delivery
    if delivery == "worker":
        _notify_after_commit()
        return
    send = deliver
    if delivery == "tasks":
        # Imported here, because on Django 5.2 the module needs the package django-tasks.
        from sms.tasks import hand_over as send

    # A function and not a partial: Django logs a failing robust callback by its `__qualname__`, which a partial lacks.
    def send_committed() -> None:
        send(message_id)

    transaction.on_commit(send_committed, robust=True)


def _notify_after_commit() -> None:
    """Wake the workers after commit, once a transaction. If a crash loses the NOTIFY, polling finds the rows."""
    if connection.vendor == "postgresql" and not any(call[1] is _notify for call in connection.run_on_commit):
        transaction.on_commit(_notify, robust=True)


def _notify() -> None:
    """Wake the workers, at most once in NOTIFY_EVERY: PostgreSQL commits transactions with a NOTIFY one at a time.

    The worker looks a second time after each NOTIFY, so that a message whose NOTIFY was skipped does not wait.
    """
    global _last_notify
    now = time.monotonic()
    if now < _last_notify + NOTIFY_EVERY:
        return
    _last_notify = now
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")
