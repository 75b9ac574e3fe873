"""Writing outcomes: one or many in one statement, with the signals after it.

All that is to be written is one JSON parameter: drivers quote each value of a statement by itself, in Python, which
costs a text more than the database does.
"""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.dispatch import Signal

from sms import clock
from sms.database import close_if_unavailable
from sms.errors import ProviderUnavailable, RateLimited
from sms.models import UNSUCCESSFUL, SmsEvent, SmsMessage, Status
from sms.sending.attempt import Outcome
from sms.signals import sms_failed, sms_sent
from sms.text.redaction import blank_link

_ROW = {
    "id": "bigint", "claim": "text", "status": "text", "provider_id": "text", "at": "timestamptz", "sends": "integer",
    "doubts": "integer", "error": "text", "due_at": "timestamptz", "retries": "integer", "text": "text",
}  # fmt: skip
_EVENT = {
    "message_id": "bigint", "at": "timestamptz", "what": "text", "step": "text", "attempt": "smallint",
    "http_status": "integer", "provider_id": "text", "answer": "text", "error": "text", "ms": "integer",
    "actor": "text", "trouble": "text",
}  # fmt: skip
# DMark has the accepted ones, whoever may have claimed the rows since: only a report is further along. A failure, or a
# way back to the queue, counts if the row is still this claimer's.
_UPDATE = """
    UPDATE {table} SET
        status = CASE WHEN it.status = 'sent' AND {table}.status IN ('sent', 'undelivered', 'delivered')
            THEN {table}.status ELSE it.status END,
        provider_id = CASE WHEN {table}.provider_id = '' THEN it.provider_id ELSE {table}.provider_id END,
        sent_at = CASE WHEN it.status = 'sent' THEN COALESCE(sent_at, it.at) ELSE sent_at END,
        attempts = attempts + it.sends, doubts = it.doubts, error = it.error, claim = '', lease_until = NULL,
        due_at = COALESCE(it.due_at, {table}.due_at), retries = COALESCE(it.retries, {table}.retries),
        text = COALESCE(it.text, {table}.text),
        holds_link = CASE WHEN it.text IS NULL THEN holds_link ELSE {false} END
    FROM {rows}
    WHERE {table}.id = it.id AND (it.status = 'sent' OR ({table}.status = 'sending' AND {table}.claim = it.claim))
    RETURNING {table}.id
"""
_INSERT = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows}"


# A time as the database's driver takes it.
Adapt: TypeAlias = Callable[[datetime], Any]


class News(NamedTuple):
    """A signal, and the ids of the texts that it is to tell of."""

    signal: Signal
    ids: list[int]


def record(outcomes: Sequence[Outcome]) -> None:
    """Store results, then send the signals.

    If the connection was lost while the message was being sent, the results are stored once more on a fresh one. They
    would be lost otherwise, and a later `sms_worker --once` would send the message again.
    """
    try:
        news = store(outcomes)
    except (DatabaseError, InterfaceError) as error:
        if connection.in_atomic_block or not close_if_unavailable(error):
            raise
        news = store(outcomes)
    tell(news)


def store(outcomes: Sequence[Outcome]) -> list[News]:
    """Store what came of each try, all or nothing. Returns what is to be told, if anybody listens."""
    adapt = connection.ops.adapt_datetimefield_value
    rows = json.dumps([_row(outcome, adapt) for outcome in outcomes])
    events = json.dumps([event for outcome in outcomes for event in _events(outcome, adapt)])
    changed = _store_at_once(rows, events) if connection.vendor == "postgresql" else _store(rows, events)
    told = {
        sms_sent: [outcome.message.pk for outcome in outcomes if outcome.status == Status.SENT],
        sms_failed: [
            outcome.message.pk
            for outcome in outcomes
            if outcome.status in UNSUCCESSFUL and outcome.message.pk in changed
        ],
    }
    return [News(signal, ids) for signal, ids in told.items() if ids and signal.has_listeners(SmsMessage)]


def tell(news: Sequence[News]) -> None:
    for signal, ids in news:
        stored = SmsMessage.objects.in_bulk(ids)
        for message in stored.values():
            signal.send_robust(SmsMessage, message=message)


def _store_at_once(rows: str, events: str) -> set[int]:
    """Both in one statement, so one trip to the database and one commit."""
    sql = f"""
        WITH changed AS ({_update(_records(_ROW))}), noted AS ({_insert(_records(_EVENT))})
        SELECT id FROM changed
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(sql, [rows, events])
        return {pk for (pk,) in cursor.fetchall()}


def _store(rows: str, events: str) -> set[int]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_update(_values(_ROW)), [rows])
        changed = {pk for (pk,) in cursor.fetchall()}
        cursor.execute(_insert(_values(_EVENT)), [events])
    return changed


def _update(rows: str) -> str:
    false = "false" if connection.vendor == "postgresql" else "0"
    return _UPDATE.format(table=connection.ops.quote_name(SmsMessage._meta.db_table), rows=rows, false=false)


def _insert(rows: str) -> str:
    table = connection.ops.quote_name(SmsEvent._meta.db_table)
    return _INSERT.format(table=table, columns=", ".join(_EVENT), rows=rows)


def _records(columns: dict[str, str]) -> str:
    """A JSON parameter as rows, in PostgreSQL's words."""
    return f"jsonb_to_recordset(%s::jsonb) AS it({', '.join(f'{name} {kind}' for name, kind in columns.items())})"


def _values(columns: dict[str, str]) -> str:
    """The same in SQLite's."""
    read = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
    return f"(SELECT {read} FROM json_each(%s)) AS it"  # noqa: S608


def _row(outcome: Outcome, adapt: Adapt) -> dict[str, object]:
    message, due_at = outcome.message, outcome.due_at
    row: dict[str, object] = {
        "id": message.pk,
        "claim": message.claim,
        "status": outcome.status.value,
        "provider_id": outcome.provider_id,
        "at": str(adapt(outcome.at)),
        "sends": outcome.sends,
        "doubts": outcome.doubts,
        "error": "" if outcome.status == Status.SENT else outcome.error,
    }
    if due_at:
        row["due_at"] = str(adapt(due_at))
        row["retries"] = message.retries + isinstance(outcome.reason, ProviderUnavailable)
    if outcome.status == Status.EXPIRED:
        row["text"] = blank_link(message.text)
    return row


def _events(outcome: Outcome, adapt: Adapt) -> list[dict[str, object]]:
    of = {
        "message_id": outcome.message.pk,
        "at": str(adapt(outcome.at)),
        "what": SmsEvent.What.ATTEMPT.value,
        "actor": "",
    }
    events = [
        of
        | {
            "step": exchange.step,
            "attempt": exchange.attempt,
            "http_status": exchange.status,
            "provider_id": exchange.provider_id,
            "answer": exchange.answer,
            "error": exchange.error,
            "ms": exchange.ms,
            "trouble": exchange.trouble,
        }
        for exchange in outcome.exchanges
        if exchange.step != "token" or exchange.error
    ]
    if outcome.reason and not events:
        step = "throttle" if isinstance(outcome.reason, RateLimited) else ""
        nothing = {"attempt": 0, "http_status": None, "provider_id": "", "answer": "", "ms": 0, "trouble": ""}
        events = [of | nothing | {"step": step, "error": str(outcome.reason)}]
    return events


def take_back(ids: Collection[int], seconds: float) -> None:
    """Queue again texts whose refusal turned out to be the account's; due in so many seconds, so that others probe."""
    rows = SmsMessage.objects.filter(pk__in=ids, status=Status.FAILED)
    rows.update(status=Status.QUEUED, due_at=clock.now() + timedelta(seconds=seconds))
