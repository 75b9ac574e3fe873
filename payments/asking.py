"""Asking back what became of a payment, with our own credentials: on the schedule, or because a notice came."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F, QuerySet

from payments import clock, exchanges, providers
from payments.models import Callback, Payment
from payments.providers import Answer, Said
from payments.settling import settle

logger = logging.getLogger("payments")

A_DAY = 86400
# A payment's first notices are asked about at once: its money may just have come, and where there is no worker nobody
# would ask before cron does. After them it is asked about this many seconds apart at the least, however many come.
AT_ONCE = 3
GAP = 3.0
# So long after its order a payment that the provider does not know is none to wonder about.
NOT_YET_KNOWN = 60.0
# Whoever asks is given so long at most before another does: two questions do no harm, and a player who has paid must
# not wait for minutes because a process died.
_LEASE = 30.0
_FIRST = (5.0, 10.0, 20.0, 40.0)

Collection = Payment.Collection


def next_pause(elapsed: float) -> float | None:
    """Seconds until a payment is asked about again, `elapsed` after its order: at 5, 10, 20, 40 s, then each minute,
    after half an hour each ten, for a day; None after that."""
    for point in _FIRST:
        if elapsed < point:
            return point - elapsed
    if elapsed >= A_DAY:
        return None
    return 60.0 if elapsed < 1800 else 600.0


def first_ask(payment: Payment, asked_at: datetime, now: datetime) -> datetime:
    """When to ask first about an order that was just placed; without the provider's id that is when a day is over."""
    if not ids_of(payment):
        return asked_at + timedelta(seconds=A_DAY)
    pause = next_pause((now - asked_at).total_seconds())
    return now + timedelta(seconds=pause or 0)


def ids_of(payment: Payment) -> list[str]:
    """What the provider may know the payment by: its own answer's id, else those of notices, the newest first."""
    if payment.provider_id:
        return [payment.provider_id]
    notices = payment.callbacks.filter(source=Callback.Source.DMARKPAY, refusal="").exclude(provider_id="")
    newest = list(notices.order_by("-pk").values_list("provider_id", flat=True)[:20])
    return list(dict.fromkeys(newest))


def soon(payment_id: int, notices: int) -> bool:
    """Have a payment asked about as soon as AT_ONCE and GAP allow, as the last of its notices came. True: at once."""
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        if not payment.provider or not ids_of(payment):
            return False
        now = clock.now()
        earliest = now
        if payment.last_ask_at is not None and notices > AT_ONCE:
            earliest = max(now, payment.last_ask_at + timedelta(seconds=GAP))
        if payment.next_ask_at is None or payment.next_ask_at > earliest:
            payment.next_ask_at = earliest
            payment.save(update_fields=["next_ask_at"])
        return payment.next_ask_at <= now


def ask_due(limit: int = 100, stopping: Callable[[], bool] = lambda: False) -> int:
    """Ask about up to `limit` payments that are due for it, one after the other. Returns how many."""
    asked = 0
    while asked < limit and not stopping() and (claimed := _claim(Payment.objects.all())):
        _ask(claimed)
        asked += 1
    return asked


def ask(payment_id: int) -> bool:
    """Ask about one payment in this process, if it is due; False where it is not, or where another does."""
    claimed = _claim(Payment.objects.filter(pk=payment_id))
    if claimed is not None:
        _ask(claimed)
    return claimed is not None


def _claim(among: "QuerySet[Payment]") -> Payment | None:
    """The payment that is due longest; others leave it alone while its answer may be on its way."""
    now = clock.now()
    provider = providers.current()
    lease = timedelta(seconds=min(_LEASE, provider.longest + 5) if provider else _LEASE)
    with transaction.atomic():
        due = among.filter(next_ask_at__lte=now).order_by("next_ask_at", "pk")
        skip = connection.features.has_select_for_update_skip_locked
        payment = due.select_for_update(skip_locked=skip).first()
        if payment is None:
            return None
        payment.last_ask_at, payment.next_ask_at = now, now + lease
        payment.asks = F("asks") + 1
        payment.save(update_fields=["last_ask_at", "next_ask_at", "asks"])
        return payment


def _ask(claimed: Payment) -> None:
    provider, ids = providers.named(claimed.provider), ids_of(claimed)
    answer, known_by = None, ids[0] if ids else ""
    if provider is not None and known_by:
        answer = provider.status(known_by)
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=claimed.pk)
        if answer is not None:
            exchanges.keep(payment, "status", answer)
            _take(payment, answer, known_by, overtaken=payment.last_ask_at != claimed.last_ask_at)
            payment.refresh_from_db()
        _schedule(payment, claimed.next_ask_at)


def _take(payment: Payment, answer: Answer, known_by: str, *, overtaken: bool) -> None:
    """Settle by the answer, if it is about this payment: one that a notice named has to bring our own reference.

    `overtaken`: somebody has asked since. Against an end that is booked such an answer may be the older word: we ask
    again.
    """
    by_notice = known_by != payment.provider_id
    if answer.ours != payment.transaction_id and (answer.ours or by_notice):
        if answer.said is Said.IN_DOUBT or (answer.said is Said.UNKNOWN and by_notice):
            return
        logger.warning(
            "An answer about payment %s was about another transaction.",
            payment.pk,
            extra={"event": "payments.foreign_id", "payment": payment.pk},
        )
        payment.callbacks.filter(provider_id=known_by, refusal="").update(
            refusal="Its id is not that of this payment, as asking back showed."
        )
        return
    if by_notice and answer.said in (Said.PENDING, Said.SUCCESS, Said.FAILED):
        Payment.objects.filter(pk=payment.pk).update(provider_id=known_by)
        Payment.objects.filter(pk=payment.pk, collection=Collection.IN_DOUBT).update(collection=Collection.ASKED)
    if answer.said in (Said.SUCCESS, Said.FAILED):
        said = Payment.Status.SUCCESS if answer.said is Said.SUCCESS else Payment.Status.FAILED
        if overtaken and payment.status not in (Payment.Status.PENDING, said):
            Payment.objects.filter(pk=payment.pk).update(next_ask_at=clock.now())
            return
        settle(payment.pk, said, by="asking", reason=answer.words)


def _schedule(payment: Payment, claimed_until: datetime | None) -> None:
    """When to ask next. What a notice has asked for meanwhile stands."""
    wished = payment.next_ask_at if payment.next_ask_at not in (None, claimed_until) else None
    if payment.status != Payment.Status.PENDING:
        payment.next_ask_at = wished
        payment.save(update_fields=["next_ask_at"])
        return
    now = clock.now()
    elapsed = (now - (payment.asked_at or payment.created_at)).total_seconds()
    pause = next_pause(elapsed)
    if pause is None and payment.collection != Collection.UNRESOLVED:
        _give_to_operator(payment)
    elif pause is not None and not ids_of(payment):
        pause = A_DAY - elapsed
    planned = None if pause is None else now + timedelta(seconds=pause)
    payment.next_ask_at = min((at for at in (wished, planned) if at is not None), default=None)
    payment.save(update_fields=["next_ask_at", "collection"])


def _give_to_operator(payment: Payment) -> None:
    payment.collection = Collection.UNRESOLVED
    logger.warning(
        "Payment %s has no end after a day: look it up at the provider as %s, then say in the admin what became of it.",
        payment.pk,
        payment.transaction_id,
        extra={"event": "payments.unresolved", "payment": payment.pk},
    )
