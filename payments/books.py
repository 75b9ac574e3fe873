"""Totals of the collected money: each collected payment is counted in exactly one place."""

from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from django.db import models
from django.db.models import Case, CharField, Count, Q, QuerySet, Sum, Value, When
from django.utils import timezone

from payments import refunds, uses
from payments.models import Payment

Collection = Payment.Collection


class Place(models.TextChoices):
    REFUNDED = "refunded", "refunded"
    IN_DOUBT = "in_doubt", "refund under way or outcome unknown"
    CONTESTED = "contested", "contested: the provider took it back"
    DUE_BACK = "due_back", "due back"
    IN_MATCHES = "in_matches", "in matches"
    WAITING = "waiting", "waiting for an opponent"
    UNPLACED = "unplaced", "paid, and nothing was made of it"


class Amount(NamedTuple):
    payments: int
    ugx: int


class Sums(NamedTuple):
    """`collected` is the sum of all from `in_matches` to `unplaced`. `unanswered`: not collected as far as we know; the
    provider has, or may have, the payout request and has not reported a result."""

    collected: Amount
    in_matches: Amount
    waiting: Amount
    due_back: Amount
    refunded: Amount
    in_doubt: Amount
    contested: Amount
    unplaced: Amount
    unanswered: Amount


def place() -> Case:
    """The place of a collected payment, as an expression on Payment."""
    use = uses.current()
    return Case(
        When(place__in=("refunded", "lost"), then=Value(Place.REFUNDED)),
        When(place="refund_transit", then=Value(Place.IN_DOUBT)),
        When(place="contested", then=Value(Place.CONTESTED)),
        When(refunds.owed(), then=Value(Place.DUE_BACK)),
        When(Q(place__startswith="prize") | use.played(), then=Value(Place.IN_MATCHES)),
        When(Q(place="in_use", entry__opened_at__isnull=False), then=Value(Place.WAITING)),
        default=Value(Place.UNPLACED),
        output_field=CharField(),
    )


def day(on: date) -> Sums:
    """The sums of what was collected on a day of the site's time zone. Two queries."""
    start, end = _bounds(on)
    return sums(
        collected_on(on, Payment.objects.all()), Payment.objects.filter(created_at__gte=start, created_at__lt=end)
    )


def collected_on(on: date, payments: "QuerySet[Payment]") -> "QuerySet[Payment]":
    """Those of `payments` that were collected on a day of the site's time zone."""
    start, end = _bounds(on)
    return payments.filter(collected_at__gte=start, collected_at__lt=end)


def _bounds(on: date) -> tuple[datetime, datetime]:
    start = timezone.make_aware(datetime.combine(on, time.min))
    return start, timezone.make_aware(datetime.combine(on + timedelta(days=1), time.min))


def since(start: datetime) -> Sums:
    """The sums of what was collected since then."""
    return sums(Payment.objects.filter(collected_at__gte=start), Payment.objects.filter(created_at__gte=start))


def sums(collected: "QuerySet[Payment]", asked: "QuerySet[Payment]") -> Sums:
    found = {
        row["whereabouts"]: Amount(row["payments"], row["ugx"])
        for row in collected.filter(collected_at__isnull=False)
        .order_by()
        .annotate(whereabouts=place())
        .values("whereabouts")
        .annotate(payments=Count("pk"), ugx=Sum("amount"))
    }
    open_orders = asked.filter(unanswered()).aggregate(payments=Count("pk"), ugx=Sum("amount"))
    nothing = Amount(0, 0)
    return Sums(
        collected=Amount(sum(one.payments for one in found.values()), sum(one.ugx for one in found.values())),
        **{name: found.get(name, nothing) for name in Place.values},
        unanswered=Amount(open_orders["payments"], open_orders["ugx"] or 0),
    )


def unanswered() -> Q:
    return Q(
        status=Payment.Status.PENDING,
        collection__in=(Collection.ASKING, Collection.ASKED, Collection.IN_DOUBT, Collection.UNRESOLVED),
    )
