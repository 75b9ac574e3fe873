"""Queue and send SMS. `queue_sms` stores a message for sending after commit, and `send_sms` sends at once.

A sender (a process) claims a queued message for a limited time, sends it, and records the result. It records a failure
only if it still has the claim. It always records DMark's acceptance.
"""

import logging
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from sms import clock, conf, owners, suppression
from sms.dmark.exchange import facts, fields
from sms.errors import InDoubt, NeverTexted, NotDmarks, SmsDisabled, SmsError
from sms.models import ACCEPTED, RESENDABLE, SmsEvent, SmsMessage, Status
from sms.sending import claims, pauses
from sms.sending.attempt import pauses_all, settle
from sms.sending.inline import attempt
from sms.sending.results import record
from sms.text.phone import to_e164
from sms.text.redaction import BLANKED, blank_link, has_link, redact
from sms.text.segments import segments

logger = logging.getLogger("sms.outbox")

CHANNEL = "sms_outbox"
NOTIFY_EVERY = 0.01
_last_notify = 0.0
_CHUNK = 500
# PostgreSQL refuses NUL and lone surrogates.
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


def queue_sms(
    phone: str | int, text: str, *, kind: str = "", dedupe_key: str | None = None, expires_at: datetime | None = None
) -> SmsMessage:
    """Store one message, to be sent after commit: in this process, by a worker or by a task (see SMS_DELIVERY).

    If `dedupe_key` already exists, the existing message is returned. The new message is stored as `cancelled` if the
    suppression list stops it, and as `disabled` if SMS is switched off. Raises InvalidPhone or ValueError.
    """
    message = _new(phone, text, kind, dedupe_key or None, expires_at)
    if message.status == Status.QUEUED and (refusal := suppression.refusal(message.phone, message.kind)):
        message.status, message.error = Status.CANCELLED, str(refusal)
    try:
        # If the dedupe key already exists, only the savepoint is rolled back, and the caller's transaction continues.
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
    """One message for `queue_many`. The fields are the arguments of `queue_sms`."""

    phone: str | int
    text: str
    kind: str = ""
    dedupe_key: str | None = None
    expires_at: datetime | None = None


def queue_many(messages: Sequence[NewMessage]) -> None:
    """Store several messages, to be sent after commit. Skip a message if its `dedupe_key` already exists.

    With SMS_DELIVERY=worker, the worker applies the suppression list. Raises InvalidPhone or ValueError before a row is
    written.
    """
    rows = [_new(one.phone, one.text, one.kind, one.dedupe_key or None, one.expires_at) for one in messages]
    if conf.current().delivery != "worker":
        for phone, text, kind, dedupe_key, expires_at in messages:
            queue_sms(phone, text, kind=kind, dedupe_key=dedupe_key, expires_at=expires_at)
        return
    for start in range(0, len(rows), _CHUNK):
        _insert_new(rows[start : start + _CHUNK])
    if any(row.status == Status.QUEUED for row in rows):
        _notify_after_commit()


_FIELDS: list[Any] = [field for field in SmsMessage._meta.concrete_fields if field.attname not in ("id", "due_at")]
_COLUMNS = ", ".join(["due_at", *(field.column for field in _FIELDS)])
_INSERT = f'INSERT INTO "{SmsMessage._meta.db_table}" ({_COLUMNS}) VALUES '  # noqa: S608 names of the model only
_VALUES = f"({clock.Now.template}, {', '.join(['%s'] * len(_FIELDS))})"


def _insert_new(rows: Sequence[SmsMessage]) -> None:
    """Insert the rows, with the database's time as `due_at`. Skip a row if its `dedupe_key` already exists.

    `bulk_create` would take longer to build this SQL than the database takes to run it.
    """
    values = [_prepared(field, getattr(row, field.attname)) for row in rows for field in _FIELDS]
    with connection.cursor() as cursor:
        cursor.execute(f"{_INSERT}{', '.join([_VALUES] * len(rows))} ON CONFLICT DO NOTHING", values)


def _prepared(field: Any, value: Any) -> Any:
    """Convert a value for the database driver. Strings and None, which are the most frequent, need no conversion."""
    return value if value is None or type(value) is str else field.get_db_prep_save(value, connection)


def send_sms(phone: str | int, text: str, *, kind: str = "") -> SmsMessage:
    """Send one message in this process and wait for the result. The setting SMS_DELIVERY has no effect here.

    Raises InvalidPhone or ValueError for an invalid message, and another SmsError if sending fails. After InDoubt or
    NotDmarks, DMark may have the message: do not send it again. Raises RuntimeError inside an atomic block, because a
    rollback would delete the row of a sent message.
    """
    message = _new(phone, text, kind, None, None)
    if message.status == Status.DISABLED:
        _insert_durably(message)
        raise SmsDisabled(message.error)
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
    if message.status in ACCEPTED:  # A delivery report may already have changed the status.
        return message
    if message.status == Status.UNKNOWN and not isinstance(outcome.reason, NotDmarks):
        raise InDoubt(message.error, getattr(outcome.reason, "status_code", None)) from outcome.reason
    raise outcome.reason or SmsError(message.error)


# Variants for async views. `sync_to_async` runs them in a thread that has no open transaction, so `aqueue_sms` commits
# at once.
aqueue_sms = sync_to_async(queue_sms)
asend_sms = sync_to_async(send_sms)


def _insert(message: SmsMessage) -> None:
    """Insert the row. `due_at` is the database's time, because the query for due messages uses the same clock."""
    message.due_at = clock.Now()
    message.save(force_insert=True)
    message.due_at = message.created_at


def _insert_durably(message: SmsMessage) -> None:
    """Insert and commit the row. Raises RuntimeError inside an atomic block, whose rollback would remove the row."""
    try:
        with transaction.atomic(durable=True):
            _insert(message)
    except RuntimeError as error:
        raise RuntimeError(
            "send_sms may not be called inside an atomic block, whose rollback would lose its row: "
            "call it after the block, or use queue_sms, which joins the transaction."
        ) from error


def _first_of(message: SmsMessage) -> SmsMessage:
    """Return the stored message that has the dedupe key of `message`. Log a warning if its phone or text differs."""
    first = SmsMessage.objects.get(dedupe_key=message.dedupe_key)
    # The stored text may have been erased, or the credential in its link removed. Neither counts as a difference.
    other = first.text and blank_link(first.text) != blank_link(message.text)
    if first.phone != message.phone or other:
        values = fields(first, "sms.dedupe_key_reused")
        key = redact(str(message.dedupe_key))
        logger.warning(
            "sms.dedupe_key_reused: message %s already has the reference %r; a different message is not sent",
            facts(values),
            key,
            extra=values,
        )
    return first


def deliver(message_id: int) -> None:
    """Claim one queued message and send it in this process. Do nothing if another process has claimed the message."""
    config = conf.current()
    for message in claims.claim(uuid.uuid4().hex, 1, config.lease + config.longest_send, message_id, due_only=False):
        record([attempt(message)])


def deliver_due() -> SmsError | None:
    """Send the due messages one after the other, for `sms_worker --once` without pycurl.

    Stops at an error that affects all messages, such as refused credentials, and returns this error.
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
    """Queue the messages of `rows` that are worth resending. Returns the ids of the messages that this call queued.

    Each message gets at least SMS_LIFE_SECONDS until it expires. Raises SmsDisabled if SMS is switched off.
    """
    if refusal := conf.current().disabled_because:
        raise SmsDisabled(refusal)
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
                # Forget DMark's id of the earlier send. A poll with this id would return the earlier send's report.
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
    """Filter `rows` to messages that have a status in RESENDABLE and a complete text, and that are not suppressed."""
    able = rows.filter(status__in=RESENDABLE).exclude(text="").exclude(text__contains=BLANKED)
    return able.exclude(pk__in=suppression.suppressed(able).values("pk"))


def worth_resending(rows: "QuerySet[SmsMessage]") -> list[int]:
    """Return the ids of the resendable messages that their owners (the apps that queued them) still want to send."""
    return [message.pk for message in _worth_resending(rows)]


def _worth_resending(rows: "QuerySet[SmsMessage]") -> Iterator[SmsMessage]:
    ids = list(resendable(rows).values_list("pk", flat=True))
    for start in range(0, len(ids), _CHUNK):
        chosen = SmsMessage.objects.filter(pk__in=ids[start : start + _CHUNK])
        chunk = list(chosen.only("pk", "dedupe_key", "expires_at", "holds_link"))
        worth = owners.worth_resending(chunk)
        yield from (message for message in chunk if message.pk in worth)


def _new(phone: object, text: object, kind: str, dedupe_key: str | None, expires_at: datetime | None) -> SmsMessage:
    number = to_e164(phone)
    if not isinstance(text, str) or not text.strip():
        raise ValueError("The text of an SMS must not be empty.")
    if _NOT_STORABLE.search(text):
        raise ValueError("The text of an SMS must not hold NUL or lone surrogates.")
    for name, value, longest in (("kind", kind, 40), ("dedupe_key", dedupe_key or "", 200)):
        if len(value) > longest or "\0" in value:
            raise ValueError(f"The {name} of an SMS has at most {longest} characters, and no NUL.")
    config, now = conf.current(), clock.now()
    refusal = config.disabled_because
    return SmsMessage(
        phone=number,
        text=text,
        kind=kind,
        status=Status.DISABLED if refusal else Status.QUEUED,
        error=refusal,
        dedupe_key=dedupe_key,
        created_at=now,
        due_at=now,
        expires_at=expires_at or now + timedelta(seconds=config.life),
        segments=min(segments(text).count, 32767),
        holds_link=has_link(text),
    )


def _send_after_commit(message_id: int) -> None:
    """After commit, send the message in this process, or notify a worker, or start a task (see SMS_DELIVERY)."""
    delivery = conf.current().delivery
    if delivery == "worker":
        _notify_after_commit()
        return
    send = deliver
    if delivery == "tasks":
        # Imported here, because on Django 5.2 `sms.tasks` needs the optional package django-tasks.
        from sms.tasks import hand_over as send

    # This is not a functools.partial, because Django logs a failing robust callback by its `__qualname__`, which a
    # partial does not have.
    def send_committed() -> None:
        send(message_id)

    transaction.on_commit(send_committed, robust=True)


def _notify_after_commit() -> None:
    """Notify the workers after commit, at most once per transaction. Polling finds the rows if the NOTIFY is lost."""
    if connection.vendor == "postgresql" and not any(call[1] is _notify for call in connection.run_on_commit):
        transaction.on_commit(_notify, robust=True)


def _notify() -> None:
    """Notify the workers, at most once in NOTIFY_EVERY (10 ms) from this process.

    PostgreSQL commits transactions with a NOTIFY one at a time, so each NOTIFY delays other commits. After a NOTIFY, a
    worker searches at once and again 15 ms later, so it also finds messages whose NOTIFY was skipped.
    """
    global _last_notify
    now = time.monotonic()
    if now < _last_notify + NOTIFY_EVERY:
        return
    _last_notify = now
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")
