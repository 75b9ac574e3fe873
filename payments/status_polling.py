"""Poll the status of payments at the provider: on a schedule, before payouts, after callbacks and notifications."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import F, QuerySet

from payments import database, journal, matches, providers, worker
from payments.journal import Cause
from payments.matches import Refused
from payments.models import Callback, Payment
from payments.providers import Answer, Provider, Said
from payments.rules.states import Event, Kind, Word

logger = logging.getLogger("payments")

# Each of a payment's first AT_ONCE notifications triggers a poll at once. A later one triggers a poll no sooner than
# GAP seconds after the payment's last poll.
AT_ONCE = 3
GAP = 3.0
# Longest claim of a poll, in seconds. If a process crashes during a poll, the next poll waits at most this long.
_LEASE = 30.0
# A payment is polled with at most this many of the ids that notifications named.
_MOST_IDS = 20

DAY = timedelta(days=1)
_FIRST = (5.0, 10.0, 20.0, 40.0)
# Successful payments are polled at these times after the money arrived, to find reversals that were not notified.
_LATER = (DAY, timedelta(days=7))

Collection, Status = Payment.Collection, Payment.Status
_WORDS = {Said.SUCCESS: Word.SUCCESSFUL, Said.FAILED: Word.FAILED, Said.OTHER: Word.OTHER}


def next_pause(elapsed: float) -> float | None:
    """Return the seconds until the next poll, or None if `elapsed` is a day or more.

    `elapsed`: seconds since the payment was requested, the notification arrived, or the payout was ordered.
    """
    elapsed = max(0.0, elapsed)  # `elapsed` can be negative after the database's clock was set back.
    for point in _FIRST:
        if elapsed < point:
            return point - elapsed
    if elapsed >= DAY.total_seconds():
        return None
    return 60.0 if elapsed < 1800 else 600.0


def planned(payment: Payment, now: datetime) -> datetime | None:
    """Return the time of the next poll of a payment with a final status, or None if no poll is planned."""
    owed, ordered = payment.answer_owed_since, payment.payout_ordered_at
    if owed is not None:
        pause = next_pause((now - owed).total_seconds())
        return now + (DAY if pause is None else timedelta(seconds=pause))
    if payment.payout == "ordered" and ordered is not None and (payment.ok_at is None or payment.ok_at <= ordered):
        pause = next_pause((now - ordered).total_seconds())
        if pause is not None:
            return now + timedelta(seconds=pause)
    if payment.collected_at is None or not payment.provider:
        return None
    return next((at for span in _LATER if (at := payment.collected_at + span) > now), None)


def ids_of(payment: Payment) -> list[str]:
    """Return the ids with which to poll a payment: first its `provider_id`, then unverified ids from notifications."""
    notified = payment.callbacks.filter(source=Callback.Source.DMARKPAY, refusal="").exclude(provider_id="")
    newest = list(notified.order_by("-pk").values_list("provider_id", flat=True)[:_MOST_IDS])
    return list(dict.fromkeys([*([payment.provider_id] if payment.provider_id else []), *newest]))


def owe_answer(payment_id: int, callback: Callback | None, notifications: int = 0) -> None:
    """Record that a callback or notification has arrived, so that the payment is polled.

    `notifications`: the number of notifications about the payment, including this one, or 0 for a callback.
    """
    with journal.writing():
        payment = journal.locked(payment_id)
        now = database.now()
        earliest = now
        if payment.last_ask_at is not None and notifications > AT_ONCE:
            earliest = max(now, payment.last_ask_at + timedelta(seconds=GAP))
        planned = payment.next_ask_at
        journal.take(payment, Event(Kind.NOTIFIED), Cause(callback=callback))
        poll_at = None
        if payment.provider and ids_of(payment):
            poll_at = earliest if planned is None else min(planned, earliest)
        if payment.next_ask_at != (poll_at or planned):
            payment.next_ask_at = poll_at or planned
            payment.save(update_fields=["next_ask_at"])
        at_once = poll_at is not None and poll_at <= now
        if not worker.inline():
            worker.tell_workers()
    if at_once and worker.inline():
        poll(payment_id)


def poll_due(limit: int = 100, stopping: Callable[[], bool] = lambda: False) -> int:
    """Poll up to `limit` payments that are due, one after the other. Return the number of polls."""
    polled = 0
    while polled < limit and not stopping() and (claimed := _claim(Payment.objects.all())):
        _poll(claimed)
        polled += 1
    return polled


def poll(payment_id: int) -> bool:
    """Poll one payment in this process. Return False if it is not due or another process is polling it."""
    claimed = _claim(Payment.objects.filter(pk=payment_id), wait=True)
    if claimed is not None:
        _poll(claimed)
    return claimed is not None


def _claim(among: "QuerySet[Payment]", *, wait: bool = False) -> Payment | None:
    """Claim and return the payment that has been due longest, or None if no payment is due.

    `wait`: True to wait for a locked row, False to skip locked rows.
    """
    now = database.now()
    with journal.writing():
        due = among.filter(next_ask_at__lte=now).order_by("next_ask_at", "pk")
        skip = connection.features.has_select_for_update_skip_locked and not wait
        payment = due.select_for_update(no_key=True, skip_locked=skip).first()
        if payment is None:
            return None
        provider = providers.named(payment.provider)
        lease = timedelta(seconds=min(_LEASE, provider.longest + 5) if provider else _LEASE)
        payment.last_ask_at, payment.next_ask_at = now, now + lease
        payment.asks = F("asks") + 1
        payment.save(update_fields=["last_ask_at", "next_ask_at", "asks"])
        return payment


def _poll(claimed: Payment) -> None:
    provider, ids = providers.named(claimed.provider), ids_of(claimed)
    answer, known_by = _ask(provider, claimed, ids) if provider is not None and ids else (None, "")
    with journal.writing():
        payment = matches.locked(claimed.pk).payment
        pays_out = False
        if answer is not None:
            pays_out = _take(payment, claimed, answer, known_by)
        _schedule(payment, claimed)
    if pays_out:
        from payments import refunds

        refunds.send_soon(claimed.pk)


def _ask(provider: Provider, payment: Payment, ids: list[str]) -> tuple[Answer, str]:
    """Poll with each id in turn until the answer is about this payment. Return the last answer and the polled id."""
    answer, known_by = Answer(Said.IN_DOUBT), ""
    for known_by in ids:
        answer = provider.status(known_by)
        if is_ours(payment, answer, known_by):
            break
        if not answer.ours:  # The answer names no transaction. Try the next id.
            continue
        logger.warning(
            "payments.foreign_id: a poll of payment %s found another transaction under the id of a notification.",
            payment.pk,
            extra={"event": "payments.foreign_id", "payment": payment.pk},
        )
        payment.callbacks.filter(provider_id=known_by, refusal="").update(
            refusal="A poll showed that its id belongs to another payment."
        )
    return answer, known_by


def is_ours(payment: Payment, answer: Answer, known_by: str) -> bool:
    """Return True if an answer is about this payment.

    If the answer contains a reference, it must be the payment's `transaction_id`. An answer without a reference counts
    only if the poll asked for the payment's `provider_id` (`known_by`) and brought a status word.
    """
    if answer.ours:
        return answer.ours == payment.transaction_id
    return known_by == payment.provider_id and answer.said in (*_WORDS, Said.PENDING)


def _take(payment: Payment, claimed: Payment, answer: Answer, known_by: str) -> bool:
    """Apply the answer of a poll to a locked payment. Return True if an ordered payout may now be sent."""
    # If the status word is unknown, the note begins with it, so that operators see it.
    note = f"{answer.word}: {answer.words}" if answer.said is Said.OTHER else answer.words
    cause = Cause("asking", note=note, reason=note, answer=answer)
    if not is_ours(claimed, answer, known_by) or answer.said not in (*_WORDS, Said.PENDING):
        journal.note_poll(payment, cause)
        return False
    also: tuple[str, ...] = ()
    if known_by != payment.provider_id:
        payment.provider_id, also = known_by, ("provider_id",)
    if answer.said is Said.PENDING:
        if payment.collection == Collection.IN_DOUBT:
            journal.take(payment, Event(Kind.REQUEST_PENDING), cause, also=also)
            return False
        if also:
            payment.save(update_fields=also)
        journal.note_poll(payment, cause)
        return False
    # If a payout was ordered or a notification arrived during this poll, only the next poll confirms the payment.
    # `began` does not show this if the database's clock was set back.
    times = ("payout_ordered_at", "answer_owed_since")
    confirms = all(getattr(payment, name) == getattr(claimed, name) for name in times)
    began = claimed.last_ask_at or database.now()
    outcome = matches.take_word(payment, _WORDS[answer.said], began=began, polled=confirms, cause=cause, also=also)
    return any(effect.name == "pay_out" for effect in outcome.effects)


def _schedule(payment: Payment, claimed: Payment) -> None:
    """Set the time of the next poll. An earlier time set by a notification during this poll is kept."""
    now = database.now()
    wished = payment.next_ask_at if payment.next_ask_at not in (None, claimed.next_ask_at) else None
    if payment.status != Status.PENDING:
        at = planned(payment, now)
        if payment.answer_owed_since is not None and now - payment.answer_owed_since >= DAY:
            logger.warning(
                "payments.unanswered: a notification about payment %s has got no answer from the provider for a day: "
                "look it up at the provider as %s.",
                payment.pk,
                payment.transaction_id,
                extra={"event": "payments.unanswered", "payment": payment.pk},
            )
    else:
        elapsed = (now - (payment.asked_at or payment.created_at)).total_seconds()
        pause = next_pause(elapsed)
        if pause is None and payment.collection in (Collection.ASKED, Collection.IN_DOUBT):
            _give_to_operator(payment)
        elif pause is not None and not ids_of(payment):
            pause = DAY.total_seconds() - elapsed
        at = None if pause is None else now + timedelta(seconds=pause)
    payment.next_ask_at = min((time for time in (wished, at) if time is not None), default=None)
    payment.save(update_fields=["next_ask_at"])


def _give_to_operator(payment: Payment) -> None:
    journal.ensure_adopted(payment)
    journal.take(payment, Event(Kind.UNRESOLVED))
    logger.warning(
        "payments.unresolved: payment %s has no status after a day: look it up at the provider as %s, then mark it "
        "as paid or not paid in the admin.",
        payment.pk,
        payment.transaction_id,
        extra={"event": "payments.unresolved", "payment": payment.pk},
    )


class Confirmed(NamedTuple):
    """A poll that confirmed a payment. `known_by`: the polled id. `began`: when the poll began."""

    answer: Answer
    known_by: str
    began: datetime


def _look_up(payment: Payment, provider_id: str) -> tuple[Answer | None, str]:
    """Poll a payment without changing it. Return the answer and the polled id.

    If no poll is possible, return None and "". `provider_id`: the only id to poll, or "" to poll the ids of `ids_of`.
    """
    provider, ids = providers.named(payment.provider), [provider_id] if provider_id else ids_of(payment)
    if provider is None or not ids:
        return None, ""
    return (provider.status(provider_id), provider_id) if provider_id else _ask(provider, payment, ids)


def confirm(payment: Payment, provider_id: str, *, actor: str, note: str) -> Confirmed | None:
    """Poll a payment that an operator wants to mark as paid. Return None if there is no clear answer.

    `provider_id`: the id that the operator read in the provider's portal, or "". Raises Refused if the provider
    contradicts the operator or does not confirm this id.
    """
    began = database.now()
    answer, known_by = _look_up(payment, provider_id)
    if answer is None and not provider_id:
        return None
    if answer is not None and answer.said is Said.SUCCESS and is_ours(payment, answer, known_by):
        return Confirmed(answer, known_by, began)
    denial = _denial(payment, answer, typed=bool(provider_id))
    if not denial:
        return None
    with journal.writing():
        locked = matches.locked(payment.pk).payment
        cause = Cause("operator", actor, note, answer=answer)
        journal.record(locked, Event(Kind.SETTLED_PAID, actor=actor), (), database.now(), cause, denial)
    raise Refused(denial)


def _denial(payment: Payment, answer: Answer | None, *, typed: bool) -> str:
    """Return the reason why an operator may not mark the payment as paid, or "" if there is none.

    `typed`: True if the operator entered an id, which the provider must confirm.
    """
    if answer is None:
        return "No provider that is set up can check this ID."
    if answer.ours not in ("", payment.transaction_id):
        return "The provider says that this ID belongs to another transaction."
    if answer.said is Said.UNKNOWN:
        return "The provider knows no transaction with this ID."
    if answer.said is Said.FAILED:
        return "The provider says that this payment failed."
    if answer.said is Said.PENDING:
        return "The provider says that this payment is still pending."
    if not typed:
        return ""
    if answer.said is Said.SUCCESS:
        return "The provider's answer about this ID does not name our transaction."
    return "The ID could not be checked, because the provider gave no clear answer. Try again, or leave the ID empty."


def mark_paid(payment_id: int, confirmed: Confirmed | None, *, actor: str, note: str) -> Payment:
    """Settle a payment as paid. `confirmed`: the result of `confirm`, or None without a confirmation.

    Raises Refused, for example if the provider has given another answer since `confirm`.
    """
    if confirmed is None:
        return matches.judge(payment_id, Kind.SETTLED_PAID, actor=actor, note=note)
    with journal.writing():
        payment = matches.locked(payment_id).payment
        if payment.status == Status.SUCCESS:
            raise Refused("It has a status.")
        payment.provider_id = confirmed.known_by
        cause = Cause("operator", actor, note, note, answer=confirmed.answer)
        matches.take_word(
            payment, Word.SUCCESSFUL, began=confirmed.began, polled=True, cause=cause, also=("provider_id",)
        )
        matches.raise_if_unused(payment)
    if payment.status != Status.SUCCESS:
        raise Refused("The provider's answer is recorded, but in the meantime the provider gave another one.")
    return payment
