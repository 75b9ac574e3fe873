"""Store the results of sending, and send the signals `sms_sent` and `sms_failed` afterwards.

A batch is passed as JSON, because quoting many parameters would take longer than the SQL statement itself.
"""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.dispatch import Signal

from sms import clock
from sms.database import close_if_unavailable
from sms.dmark.exchange import Exchange
from sms.errors import ProviderUnavailable, RateLimited
from sms.models import UNSUCCESSFUL, SmsEvent, SmsMessage, Status
from sms.sending import rate_limit
from sms.sending.attempt import Result
from sms.signals import sms_failed, sms_sent
from sms.text.redaction import blank_link

_ROW = {
    "id": "bigint", "claim": "text", "status": "text", "provider_id": "text", "at": "timestamptz", "sends": "integer",
    "doubts": "integer", "error": "text", "due_at": "timestamptz", "retries": "integer", "text": "text",
}  # fmt: skip
_EVENT = {
    "message_id": "bigint", "at": "timestamptz", "what": "text", "http_status": "integer", "actor": "text",
    "step": "text", "attempt": "smallint", "provider_id": "text", "answer": "text", "error": "text", "ms": "integer",
    "trouble": "text",
}  # fmt: skip
# Columns of an event that have the same name as an attribute of `Exchange`.
_COPIED = tuple(_EVENT)[5:]
# An acceptance by DMark is stored once, even if this sender has lost its claim. It never replaces a status from a
# delivery report. Other results are stored only if this sender still has the claim.
_UPDATE = """
    UPDATE {table} SET
        status = CASE WHEN it.status = 'sent' AND {table}.status IN ('sent', 'undelivered', 'delivered')
            THEN {table}.status ELSE it.status END,
        provider_id = CASE WHEN {table}.provider_id = '' THEN it.provider_id ELSE {table}.provider_id END,
        sent_at = CASE WHEN it.status = 'sent' THEN COALESCE(sent_at, it.at) ELSE sent_at END,
        attempts = attempts + it.sends, doubts = it.doubts, claim = '', lease_until = NULL,
        error = CASE WHEN {table}.status = 'undelivered' THEN {table}.error ELSE it.error END,
        due_at = COALESCE(it.due_at, {table}.due_at), retries = COALESCE(it.retries, {table}.retries),
        text = COALESCE(it.text, {table}.text), holds_link = CASE WHEN it.text IS NULL THEN holds_link ELSE false END
    FROM {rows}
    WHERE {table}.id = it.id AND CASE WHEN it.status = 'sent' THEN COALESCE(sent_at <> it.at, true)
        ELSE {table}.status = 'sending' AND {table}.claim = it.claim END
    RETURNING {table}.id
"""

T = TypeVar("T")
# Signals to send, each with the ids of its messages.
PendingSignals: TypeAlias = list[tuple[Signal, list[int]]]


def record(results: Sequence[Result]) -> None:
    """Store the results, on a new database connection if the old one was lost. Then send the signals."""
    send_signals(retry_once(lambda: store(results)))


def retry_once(query: Callable[[], T]) -> T:
    """Run `query`. If the database is unavailable, run `query` once more, except inside an atomic block."""
    try:
        return query()
    except (DatabaseError, InterfaceError) as error:
        if connection.in_atomic_block or not close_if_unavailable(error):
            raise
    return query()


def store(results: Sequence[Result]) -> PendingSignals:
    """Store the results in one transaction, on PostgreSQL with one statement. Return the signals to send."""
    name, adapt = connection.ops.quote_name, connection.ops.adapt_datetimefield_value
    rows = json.dumps([_row(result, adapt) for result in results])
    events = json.dumps([event for result in results for event in _events(result, adapt)])
    update = _UPDATE.format(table=name(SmsMessage._meta.db_table), rows=_table(_ROW))
    table, columns = name(SmsEvent._meta.db_table), ", ".join(_EVENT)
    new = f"NOT EXISTS (SELECT 1 FROM {table} old WHERE old.message_id = it.message_id AND old.at = it.at)"  # noqa: S608
    insert = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {_table(_EVENT)} WHERE {new}"  # noqa: S608
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            sql = f"WITH changed AS ({update}), noted AS ({insert}) SELECT id FROM changed"  # noqa: S608
            cursor.execute(sql, [rows, events])
            changed = {pk for (pk,) in cursor.fetchall()}
        else:
            with transaction.atomic():
                cursor.execute(update, [rows])
                changed = {pk for (pk,) in cursor.fetchall()}
                cursor.execute(insert, [events])
    sent = [result.message.pk for result in results if result.status == Status.SENT]
    failed = {result.message.pk for result in results if result.status in UNSUCCESSFUL} & changed
    pending = ((sms_sent, sent), (sms_failed, sorted(failed)))
    return [(signal, ids) for signal, ids in pending if ids and signal.has_listeners(SmsMessage)]


def send_signals(pending: PendingSignals) -> None:
    for signal, ids in pending:
        for message in SmsMessage.objects.in_bulk(ids).values():
            signal.send_robust(SmsMessage, message=message)


def _table(columns: dict[str, str]) -> str:
    """Return an SQL expression that turns a JSON parameter into a table named `it`."""
    if connection.vendor == "postgresql":
        return f"jsonb_to_recordset(%s::jsonb) AS it({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
    read = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
    return f"(SELECT {read} FROM json_each(%s)) AS it"  # noqa: S608


def _row(result: Result, adapt: Callable[[datetime], Any]) -> dict[str, object]:
    message, due_at = result.message, result.due_at
    row: dict[str, object] = {
        "id": message.pk,
        "claim": message.claim,
        "status": result.status.value,
        "provider_id": result.provider_id,
        "at": str(adapt(result.at)),
        "sends": sum(exchange.step == "send" for exchange in result.exchanges),
        "doubts": result.ambiguous_requests,
        "error": "" if result.status == Status.SENT else result.error,
    }
    if due_at:
        row["due_at"] = str(adapt(due_at))
    if result.status == Status.QUEUED:
        failed = any((exchange.status or 0) >= 500 for exchange in result.exchanges)
        row["retries"] = message.retries + (failed or isinstance(result.reason, ProviderUnavailable))
    if result.status == Status.EXPIRED:
        row["text"] = blank_link(message.text)
    return row


def _events(result: Result, adapt: Callable[[datetime], Any]) -> list[dict[str, object]]:
    exchanges = [exchange for exchange in result.exchanges if exchange.step != "token" or exchange.error]
    limited = isinstance(result.reason, RateLimited)
    # The rate limit may delay a message many times. Only the first delay is stored in the history.
    if result.reason and not exchanges and not (limited and rate_limit.was_limited(result.message)):
        exchanges = [Exchange("throttle" if limited else "", 0, None, "", "", str(result.reason), 0)]
    same = {"message_id": result.message.pk, "at": str(adapt(result.at)), "what": SmsEvent.What.ATTEMPT, "actor": ""}
    return [
        {**same, "http_status": exchange.status, **{name: getattr(exchange, name) for name in _COPIED}}
        for exchange in exchanges
    ]


def take_back(ids: Collection[int], seconds: float) -> None:
    """Queue these failed messages again, due in `seconds`. DMark refused the account, and not these messages."""
    rows = SmsMessage.objects.filter(pk__in=ids, status=Status.FAILED)
    rows.update(status=Status.QUEUED, due_at=clock.now() + timedelta(seconds=seconds))
