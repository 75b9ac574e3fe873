"""`GET /metrics`: metrics in the format of Prometheus, read from the database at each request."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from game.models import GameWorker
from payments import ledger
from playmatatu.alert_sources import late_counts
from sms import clock, formats
from sms.stats import by_network, status, volume

# Upper bounds of the histogram buckets, in seconds. After ten minutes (the last bound), most messages are useless.
BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class SmsCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        now = clock.now()
        messages = GaugeMetricFamily(
            "playmatatu_sms_messages", "Messages queued within the last 24 hours.", labels=["kind", "status"]
        )
        segments = GaugeMetricFamily(
            "playmatatu_sms_segments", "SMS segments of the messages queued within the last 24 hours.", labels=["kind"]
        )
        texts: Counter[tuple[str, str]] = Counter()
        parts: Counter[str] = Counter()
        for cell in volume.current().hours:
            if cell.at > now - timedelta(hours=25):
                texts[cell.kind, cell.status] += cell.messages
                parts[cell.kind] += cell.segments
        for labels, value in texts.items():
            messages.add_metric(labels, value)
        for kind, value in parts.items():
            segments.add_metric([kind], value)
        yield messages
        yield segments
        oldest, alive, attempts = status.oldest_due(now), status.workers(now), status.last_attempts(200)
        trouble, _ = status.trouble(alive, attempts[:20], now)
        successes = (event.at.timestamp() for event in attempts if event.step == "send" and not event.error)
        accepted = next(successes, 0.0)
        age = (now - oldest).total_seconds() if oldest else 0.0
        singles: tuple[tuple[str, str, float], ...] = (
            ("waiting", "Messages in the queue, at most 10000.", status.waiting()),
            ("oldest_due_seconds", "Age of the oldest due message.", age),
            ("workers", "Workers that run.", len(alive)),
            ("workers_paused", "Workers that have paused.", sum(bool(one.paused) for one in alive)),
            ("credentials_refused", "1 while DMark refuses the credentials.", trouble == "credentials"),
            ("account_refused", "1 while DMark refuses the account.", trouble == "account"),
            ("provider_trouble", "1 while most requests to DMark fail.", trouble == "provider"),
            ("throttled", "Delays and stops by the rate limit in the last 24 hours.", status.rate_limited(now)),
            ("last_accepted_timestamp_seconds", "Time of DMark's last acceptance. 0: none recently.", accepted),
        )
        for name, about, number in singles:
            yield GaugeMetricFamily(f"playmatatu_sms_{name}", about, value=float(number))
        yield from _by_network(now)


class PaymentsCollector(Collector):
    """Metrics of payments, game workers and overdue work."""

    def collect(self) -> Iterator[Metric]:
        now, money = clock.now(), ledger.figures()
        waits = (now - money.oldest_to_ask).total_seconds() if money.oldest_to_ask else 0.0
        singles: tuple[tuple[str, str, float], ...] = (
            ("to_ask", "Payments that were not requested yet.", money.to_ask),
            ("oldest_to_ask_seconds", "Age of the oldest payment that was not requested yet.", waits),
            ("asked", "Payments that were requested and have no final status.", money.asked),
            ("in_doubt", "Payments whose request is ambiguous.", money.in_doubt),
            ("unresolved", "Payments without a final status after a day, for an operator.", money.unresolved),
            ("contested", "Payments whose final status the provider contradicted.", money.contested),
            ("refund_due", "Payments that are due for refund.", money.refund_due),
            ("refund_due_ugx", "Sum of the payments that are due for refund, in UGX.", money.refund_due_ugx),
            ("refunds_under_way", "Refunds ordered or being paid out.", money.refunds_under_way),
            ("refunds_in_doubt", "Refunds whose payout is ambiguous.", money.refunds_in_doubt),
            ("lost_ugx", "UGX that were paid out and then taken back by the provider.", money.lost_ugx),
            ("prizes_due", "Prizes to be paid.", money.prizes_due),
            ("prizes_held", "Prizes held because a payment of the match is contested or gone.", money.prizes_held),
            ("answers_owed", "Payments with a notification that no poll has answered yet.", money.answers_owed),
            ("unknown_words", "Payments with an unknown status word, for an operator.", money.unknown_words),
            ("to_adopt", "Payments that the journal does not know yet.", money.to_adopt),
            ("callbacks_refused", "Callbacks of the last 24 hours that match no payment.", money.refused),
            ("callbacks_unreadable", "Callbacks of the last 24 hours that could not be read.", money.unreadable),
        )
        for name, about, number in singles:
            yield GaugeMetricFamily(f"playmatatu_payments_{name}", about, value=float(number))
        balance = GaugeMetricFamily(
            "playmatatu_payments_balance_ugx", "Balance of each account of the ledger in UGX.", labels=["account"]
        )
        for account, amount in money.balances.items():
            balance.add_metric([account.value], float(amount))
        yield balance
        yield GaugeMetricFamily("playmatatu_game_workers", "Running game workers.", value=float(GameWorker.alive()))
        late = GaugeMetricFamily(
            "playmatatu_overdue", "Rows whose work is a minute late, at most 1000.", labels=["work"]
        )
        for work, count in late_counts().items():
            late.add_metric([work], float(count))
        yield late


def _by_network(now: datetime) -> Iterator[Metric]:
    """Yield two histograms of the last hour. Their values decrease as messages leave the hour, so `rate` is invalid."""
    accept = HistogramMetricFamily(
        "playmatatu_sms_accept_seconds", "From queued to accepted by DMark, last hour.", labels=["network"]
    )
    deliver = HistogramMetricFamily(
        "playmatatu_sms_deliver_seconds", "From accepted by DMark to delivered, last hour.", labels=["network"]
    )
    sample = by_network.sample(now - timedelta(hours=1), formats.MANY)
    for network, messages in sorted(by_network.by_network(sample).items()):
        for family, seconds in zip((accept, deliver), by_network.waits(messages), strict=True):
            buckets = [(str(bound), float(sum(one <= bound for one in seconds))) for bound in BOUNDS]
            family.add_metric([network], [*buckets, ("+Inf", float(len(seconds)))], sum(seconds))
    yield accept
    yield deliver


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics.

    Respond 404 if METRICS_TOKEN is empty, and 401 if the request does not send METRICS_TOKEN as a Bearer token.
    """
    if not settings.METRICS_TOKEN:
        return HttpResponse("Set METRICS_TOKEN to turn the metrics on.\n", status=404, content_type="text/plain")
    if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {settings.METRICS_TOKEN}"):
        return HttpResponse(
            "A valid Authorization: Bearer token is needed.\n",
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": "Bearer"},
        )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SmsCollector())
    registry.register(PaymentsCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
