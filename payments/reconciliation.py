"""Compare our payments with the provider's statuses. Report every difference and change nothing."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from django.db.models import Exists, OuterRef, Q

from payments import database, journal, ledger, providers, refunds, status_polling
from payments.models import Payment, PaymentEvent, Refund
from payments.providers import Answer, Provider, Said
from payments.rules.payment import apply, balances
from payments.rules.states import Account, Place, State, event_of
from payments.signals import current_use

Collection, Status = Payment.Collection, Payment.Status

_BATCH, _THREADS = 200, 8
# A transaction that is neither recorded as paid here nor final at the provider is reported only if its payment is older
# than this.
_IN_TIME = timedelta(hours=1)


class Difference(NamedTuple):
    """A difference between our data and the provider's or the ledger's.

    `open`: True for open work, such as a refund due. `payment`: None if no single payment is concerned.
    """

    payment: Payment | None
    what: str
    open: bool = False

    def __str__(self) -> str:
        if self.payment is None:
            return self.what
        return (
            f"payment {self.payment.pk} ({self.payment.transaction_id}, {self.payment.amount} UGX, "
            f"{self.payment.created_at:%Y-%m-%d %H:%M} UTC): {self.what}"
        )


class _Compared(NamedTuple):
    """A payment or one of its payouts, with the provider's answer to a status poll. `refund`: the payout, or None."""

    payment: Payment
    refund: Refund | None
    answer: Answer


def differences(since: datetime) -> Iterator[Difference]:
    """Yield payments that differ from the provider's records, problems in the ledger, and refunds that are due.

    Only payments that were created or settled, or have an event, after `since` are checked.
    """
    provider = providers.current()
    events = PaymentEvent.objects.filter(payment=OuterRef("pk"), at__gte=since)
    rows = Payment.objects.filter(Q(created_at__gte=since) | Q(settled_at__gte=since) | Exists(events))
    payments = rows.order_by("pk").prefetch_related("refunds").iterator(chunk_size=_BATCH)
    due = refunds.due()
    played = Payment.objects.filter(current_use().played(), collected_at=None)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(payments, _BATCH)):
            keys = [payment.pk for payment in batch]
            owed = set(due.filter(pk__in=keys).values_list("pk", flat=True))
            moneyless = set(played.filter(pk__in=keys).values_list("pk", flat=True))
            held = journal.balances_of_all(keys)
            answers = _ask(pool, provider, batch) if provider is not None else {}
            for payment in batch:
                found = [_compare(one) for one in answers.get(payment.pk, ())]
                found.append(_in_the_ledger(payment, held[payment.pk], payment.pk in moneyless))
                if provider is not None and payment.pk not in answers:
                    found.append(_never_named(payment))
                found.append(_unconfirmed(payment))
                yield from (Difference(payment, what) for what in found if what)
                if payment.pk in owed:
                    yield Difference(payment, "Refund due but not paid yet.", open=True)


def rebuild(since: datetime) -> Iterator[Difference]:
    """Yield the payments whose row or ledger entries differ from a replay of their journal.

    Only payments with an event after `since` are compared. Also yield the hours with wrong totals, and payments whose
    state is not in the journal yet.
    """
    events = PaymentEvent.objects.filter(payment=OuterRef("pk"), at__gte=since)
    payments = Payment.objects.filter(Exists(events)).order_by("pk").iterator(chunk_size=_BATCH)
    while batch := list(islice(payments, _BATCH)):
        for key in _unlike(batch):
            payment = Payment.objects.get(pk=key)
            what = differs(payment)  # Compare again with the journal: the payment may have changed since it was read.
            if what:
                yield Difference(payment, f"Rebuilt: {what}.")
    for sentence in ledger.wrong_hours(since):
        yield Difference(None, sentence)
    for payment in Payment.objects.filter(journal.TO_ADOPT).order_by("pk")[:1000]:
        yield Difference(payment, "The journal does not know it yet: game_worker or expire_queue adopts it.")


def _ask(pool: ThreadPoolExecutor, provider: Provider, batch: Sequence[Payment]) -> dict[int, list[_Compared]]:
    asked: list[tuple[Payment, Refund | None, str]] = []
    for payment in batch:
        if payment.provider == provider.name and (ids := status_polling.ids_of(payment)):
            asked.append((payment, None, ids[0]))
        asked += [
            (payment, refund, refund.provider_id)
            for refund in payment.refunds.all()
            if refund.provider == provider.name and refund.provider_id
        ]
    answers = pool.map(provider.status, [provider_id for *_, provider_id in asked])
    compared: dict[int, list[_Compared]] = {}
    for (payment, refund, _), answer in zip(asked, answers, strict=True):
        compared.setdefault(payment.pk, []).append(_Compared(payment, refund, answer))
    return compared


def _compare(one: _Compared) -> str:
    """Return a sentence if the provider's status differs from ours or could not be compared, otherwise ""."""
    payment, refund, answer = one
    ours = refund.reference if refund else payment.transaction_id
    of = "The payout" if refund else "The payment"
    if answer.said is Said.IN_DOUBT:
        return f"{of} could not be compared: {answer.words}"
    if answer.said is Said.UNKNOWN:
        return f"{of} is not known at the provider."
    if answer.ours not in ("", ours):
        return f"{of} is another transaction at the provider, under the id that we have."
    done = refund.state == Refund.State.SUCCEEDED if refund else payment.collected_at is not None
    kept = refund.get_state_display() if refund else payment.get_status_display()
    if answer.said is Said.SUCCESS:
        return "" if done else f"{of} went through at the provider; here it is: {kept}."
    if answer.said is Said.FAILED:
        failed = refund.state == Refund.State.FAILED if refund else payment.status == Status.FAILED and not done
        # A contested payment is reported elsewhere: by `_in_the_ledger`, or in the list of open refunds.
        return "" if failed or payment.contested else f"{of} failed at the provider; here it is: {kept}."
    if done:
        return f"{of} is pending at the provider; here it is: {kept}."
    return f"{of} has no final status at the provider." if database.now() - payment.created_at > _IN_TIME else ""


def _unconfirmed(payment: Payment) -> str:
    """Return a sentence if an operator marked a payment as paid and no poll has confirmed it, otherwise ""."""
    if payment.settled_by_name and payment.collected_at is not None and payment.word != "successful":
        return f"Settled by {payment.settled_by_name}; the provider has not confirmed it."
    return ""


def _in_the_ledger(payment: Payment, held: dict[Account, int], moneyless: bool) -> str:
    """Return a sentence if the ledger shows a problem or open work for the payment, otherwise "".

    `held`: the payment's balances. `moneyless`: True if the payment is in a match, but no money arrived.
    """
    if payment.version == 0 or payment.stale:
        return "The journal does not know it yet: game_worker or expire_queue adopts it."
    if place_differs(journal.state_of(payment), held) and (difference := _differs_now(payment)):
        return f"{difference[:1].upper()}{difference[1:]}."
    if Account.CONTESTED in held:
        return "Contested: the provider contradicted its own final status."
    if Account.REFUND_TRANSIT in held or Account.PRIZE_TRANSIT in held:
        return "Its payout is under way, or its outcome is unknown."
    if payment.place == "lost":
        return "Lost: it was paid out, and then the provider took it back."
    if Account.RECEIVED in held:
        return "Money in, without a match or a place in a queue."
    return "In a match, without money." if moneyless else ""


def _differs_now(payment: Payment) -> str:
    """Read a payment and its ledger entries again. Return a sentence if they still differ, otherwise ""."""
    now = Payment.objects.get(pk=payment.pk)
    return place_differs(journal.state_of(now), journal.balances_of(now))


def _never_named(payment: Payment) -> str:
    """Return a sentence if the outcome of the payment request is unknown, otherwise ""."""
    if payment.status == Status.PENDING and payment.collection in (Collection.IN_DOUBT, Collection.UNRESOLVED):
        return "Outcome unknown: the provider may have the request, and gave no id."
    return ""


def replay(payments: Sequence[Payment]) -> dict[int, State]:
    """Replay the journals of these payments with one query. Return the resulting states, keyed by payment id."""
    states = {one.pk: State(one.amount, one.fee, ours=bool(one.provider)) for one in payments}
    rows = PaymentEvent.objects.filter(payment__in=list(states), refused="").order_by("pk")
    for row in rows.only("payment_id", "at", "kind", "said", "actor", "facts").iterator(chunk_size=2000):
        states[row.payment_id] = apply(
            states[row.payment_id], event_of(row.kind, row.said, row.actor, row.facts), row.at
        ).state
    return states


def _unlike(payments: Sequence[Payment]) -> dict[int, str]:
    """Return a sentence for each payment whose row, journal and ledger disagree, keyed by payment id."""
    folded, held = replay(payments), journal.balances_of_all(payment.pk for payment in payments)
    found = {
        one.pk: _row_differs(one, folded[one.pk]) or place_differs(folded[one.pk], held[one.pk]) for one in payments
    }
    return {key: what for key, what in found.items() if what}


def differs(payment: Payment) -> str:
    """Return a sentence if the row, journal and ledger of a payment disagree, otherwise ""."""
    return _unlike([payment]).get(payment.pk, "")


def _row_differs(payment: Payment, folded: State) -> str:
    # `columns` replaces each place of money in use, such as RECEIVED, with `in_use`.
    cached = journal.columns(journal.state_of(payment, Place.RECEIVED))
    for name, value in journal.columns(folded).items():
        if name not in ("word_at", "ok_at", "other_since") and cached[name] != value:
            return f"its journal says {name} = {value or 'none'}, its row {cached[name] or 'none'}"
    return ""


def place_differs(state: State, found: dict[Account, int]) -> str:
    """Return a sentence if the ledger's balances of a payment do not match its state, otherwise ""."""
    expected = balances(state)
    if expected == found:
        return ""
    return f"its ledger entries say {_words(found)}, its place {_words(expected)}"


def _words(amounts: dict[Account, int]) -> str:
    return ", ".join(f"{account.value} {amount:,} UGX" for account, amount in amounts.items()) or "nothing"
