"""Store requests to the provider and their responses, so that operators can look at them."""

from payments import clock
from payments.models import Exchange, Payment
from payments.providers import Answer


def keep(payment: Payment, step: str, answer: Answer) -> None:
    """Store a response of the provider, unless it is equal to the last response for the same step."""
    new = Exchange(
        payment=payment,
        at=clock.now(),
        step=step,
        outcome=answer.said.value,
        http_status=answer.http_status,
        answer=answer.text,
        words=answer.words[:200],
        ms=answer.ms,
    )
    last = payment.exchanges.filter(step=step).order_by("-pk").first()
    if last is None or (last.outcome, last.http_status, last.answer, last.words) != (
        new.outcome,
        new.http_status,
        new.answer,
        new.words,
    ):
        new.save()
