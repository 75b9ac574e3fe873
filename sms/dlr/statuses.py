"""The meanings of DMark's status words, and the effect of a delivery report on the status of a message."""

from functools import cache
from typing import Any

from django.db import connection, transaction
from django.db.models import Model

from sms import clock
from sms.conf import PROVIDER
from sms.models import SmsEvent, SmsMessage, Status
from sms.signals import sms_delivered, sms_failed
from sms.text.redaction import blank_link, redact

# Final status words of DMark and of SMPP, and final status numbers of DMark's older host. The numbers 4 and 8 are not
# final: they mean that the message is still on its way.
_FINAL = dict.fromkeys(("DELIVERED", "DELIVRD", "1"), Status.DELIVERED) | dict.fromkeys(
    (
        "FAILED", "EXPIRED", "REJECTED", "REJECTD", "UNDELIV", "UNDELIVERED", "UNDELIVERABLE", "BLACKLISTED", "DELETED",
        "2", "16",
    ),
    Status.UNDELIVERED,
)  # fmt: skip

# A message can get these statuses without a request to DMark.
_ENDED = (Status.FAILED, Status.EXPIRED, Status.RATE_LIMITED)
# A delivery report can change these statuses, because the report proves that DMark has the message.
_PROVED = (Status.SENDING, Status.UNKNOWN, *_ENDED)


def final_status(word: str) -> Status | None:
    """Return DELIVERED or UNDELIVERED for a final status word, and None for any other word."""
    return _FINAL.get(word.strip().upper())


def record_report(message_id: int, word: str, step: str) -> bool:
    """Record a delivery report and update the status of its message. Returns False if the message does not exist.

    A delivered message stays delivered. `word`: DMark's status word, or "" if the report has none. `step`: push or
    poll.
    """
    word = word.strip().upper()[:50]
    report = redact(word)
    while True:
        message = _read(message_id)
        if message is None:
            return False
        before = message.status
        changes = _apply(message, word)
        event = None
        # A report with the same status word as the previous report is not stored.
        if word and report != message.last_report:  # type: ignore[attr-defined]
            event = SmsEvent(message=message, at=clock.now(), what=SmsEvent.What.REPORT, step=step, answer=report)
        if _write(message_id, before, changes, event):
            break
    if message.status != before and message.status in (Status.DELIVERED, Status.UNDELIVERED):
        signal = sms_delivered if message.status == Status.DELIVERED else sms_failed
        signal.send_robust(SmsMessage, message=message)
    return True


_FIELDS: list[Any] = list(SmsMessage._meta.concrete_fields)
_NAMES = [field.attname for field in _FIELDS]
_COLUMNS = ", ".join(f"message.{field.column}" for field in _FIELDS)
_READ = f"""
    SELECT {_COLUMNS}, (
        SELECT answer FROM {SmsEvent._meta.db_table}
        WHERE message_id = message.id AND what = 'report' ORDER BY at DESC, id DESC LIMIT 1
    ) AS last_report
    FROM {SmsMessage._meta.db_table} message WHERE message.id = %s
"""  # noqa: S608 names of models only


def _read(message_id: int) -> SmsMessage | None:
    """Return the message with the extra attribute `last_report`, or None if it does not exist.

    `last_report`: status word of the newest stored report, or None. The row is not locked, because `_write` checks that
    the status has not changed.
    """
    with connection.cursor() as cursor:
        cursor.execute(_READ, [message_id])
        row = cursor.fetchone()
    if row is None:
        return None
    values = list(row)
    for index, functions, column in _converters(connection.vendor):
        for function in functions:
            values[index] = function(values[index], column, connection)
    message = SmsMessage.from_db(connection.alias, _NAMES, values[:-1])
    message.last_report = values[-1]  # type: ignore[attr-defined]
    return message


@cache
def _converters(_vendor: str) -> list[tuple[int, list[Any], Any]]:
    """Return (column index, converter functions, column) for each column that needs conversion on this database.

    PostgreSQL needs no conversion.
    """
    columns = [(index, field.cached_col) for index, field in enumerate(_FIELDS)]
    found = [
        (index, [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)], column)
        for index, column in columns
    ]
    return [converter for converter in found if converter[1]]


def _write(message_id: int, before: str, changes: dict[str, Any], event: SmsEvent | None) -> bool:
    """Apply `changes` and store `event` in one transaction. Return True if this was done.

    If the status is no longer `before`, return False: the caller must then read the message again. If `changes` is
    empty, the status is not checked.
    """
    if not changes:
        if event is not None:
            _add(event)
        return True
    if event is None or connection.vendor != "postgresql":
        with transaction.atomic():
            changed = SmsMessage.objects.filter(pk=message_id, status=before).update(**changes)
            if changed and event is not None:
                event.save(force_insert=True)
            return bool(changed)
    added = {field.attname: getattr(event, field.attname) for field in SmsEvent._meta.concrete_fields}
    del added["id"]
    update = f"UPDATE {SmsMessage._meta.db_table} SET {', '.join(f'{name} = %s' for name in changes)}"  # noqa: S608
    marks = ", ".join(["%s"] * len(added))
    insert = f"INSERT INTO {SmsEvent._meta.db_table} ({', '.join(added)}) SELECT {marks} FROM changed"  # noqa: S608
    # If `is_polled`, polling recovers a report that a crash of PostgreSQL loses. Therefore the commit does not wait
    # for the disk.
    is_polled = before == Status.SENT and event.message.provider_id
    no_wait = "RETURNING set_config('synchronous_commit', 'off', true)" if is_polled else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH changed AS ({update} WHERE id = %s AND status = %s RETURNING 1) {insert} {no_wait}",
            [*_prepared(SmsMessage, changes), message_id, str(before), *_prepared(SmsEvent, added)],
        )
        return bool(cursor.rowcount)


def _add(event: SmsEvent) -> None:
    """Store a report that does not change the message, if it differs from the newest stored report."""
    with transaction.atomic():
        list(SmsMessage.objects.select_for_update(no_key=True).filter(pk=event.message_id).values_list("pk"))
        reports = SmsEvent.objects.filter(message=event.message_id, what=SmsEvent.What.REPORT)
        if reports.order_by("-at", "-pk").values_list("answer", flat=True).first() != event.answer:
            event.at = clock.now()  # Read while the row is locked, so that the newest report has the latest time.
            event.save(force_insert=True)


def _prepared(model: type[Model], values: dict[str, Any]) -> list[Any]:
    options: Any = model._meta
    return [options.get_field(name).get_db_prep_save(value, connection) for name, value in values.items()]


def _apply(message: SmsMessage, word: str) -> dict[str, Any]:
    """Apply a report to the message object, and return the changed fields by name."""
    now, before, final = clock.now(), message.status, final_status(word)
    changes: dict[str, Any] = {}
    if final == Status.DELIVERED and before != Status.DELIVERED:
        changes = {"status": Status.DELIVERED, "delivered_at": now, "error": ""}
        changes |= {"text": blank_link(message.text), "holds_link": False}
    elif word and _may_have_been_sent(message):
        if final == Status.UNDELIVERED:
            changes = {"status": Status.UNDELIVERED, "error": f"{PROVIDER} could not deliver it ({word})."}
        elif before != Status.SENT:
            changes = {"status": Status.SENT, "error": ""}
    if changes and message.sent_at is None:
        changes["sent_at"] = now
    for name, value in changes.items():
        setattr(message, name, value)
    return changes


def _may_have_been_sent(message: SmsMessage) -> bool:
    """Return True if DMark may have the message and no final report has arrived. False for a canceled message."""
    if message.status in _ENDED:
        return bool(message.attempts)
    # If our status is still `queued`, DMark has the message only if an earlier send request had an unknown outcome.
    return message.status in (*_PROVED, Status.SENT) or (
        message.status == Status.QUEUED and bool(message.ambiguous_requests)
    )
