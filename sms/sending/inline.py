"""Send one message in this process.

If the outcome of the first request is unknown and no delivery report has arrived, the message is sent once more.
"""

import random

from sms import clock, conf, runtime
from sms.dmark import blocking, conversation
from sms.dmark.exchange import Exchange, log_exchange
from sms.errors import InDoubt
from sms.models import Status
from sms.sending import eligibility, rate_limit
from sms.sending.attempt import Result, conclude, send_conversation
from sms.sending.claims import ClaimedMessage, update_claimed
from sms.sending.results import retry_once
from sms.sending.retries import MAX_AMBIGUOUS


def attempt(message: ClaimedMessage) -> Result:
    """Send a message that this process has claimed. Return the result, which `retries.settle` may turn into a retry."""
    config = conf.current()
    if not_now := eligibility.refused([message], config).get(message.pk):
        if not_now.frees_rate_limit:
            rate_limit.release_many([message])
        return not_now
    exchanges: list[Exchange] = []

    def on_exchange(exchange: Exchange) -> None:
        exchanges.append(exchange)
        log_exchange(message, exchange)

    known = message.ambiguous_requests
    if known and not _count_ahead(message, known):
        return Result(message, Status.QUEUED, clock.now(ask=False))
    budget = conversation.Budget(config.send_budget)
    ending = _run(message, config, on_exchange, budget)
    # An earlier run of a task may already have sent requests with an unknown outcome (`known`).
    if isinstance(ending, InDoubt) and known + 1 < MAX_AMBIGUOUS:
        wait = random.uniform(*conversation.PAUSES[0])  # noqa: S311
        runtime.current.sleep(wait)
        budget.spent += wait
        if budget.allows(0) and _count_ahead(message, known + 1):
            ending = _run(message, config, on_exchange, budget)
    result = conclude(message, ending, exchanges)
    if result.frees_rate_limit:
        rate_limit.release_many([message])
    return result


def _run(
    message: ClaimedMessage, config: conf.Config, on_exchange: conversation.OnExchange, budget: conversation.Budget
) -> str | Exception:
    try:
        return blocking.run(send_conversation(message, config, on_exchange, budget), config, on_exchange)
    # After any error, the message needs a final status that operators can see.
    except Exception as error:  # noqa: BLE001
        return error


def _count_ahead(message: ClaimedMessage, known: int) -> bool:
    """Store `known` + 1 as the number of ambiguous requests, before the request is sent.

    Return False if the claim is lost.
    """
    return bool(retry_once(lambda: update_claimed(message.claim, [message.pk], "doubts = %s", known + 1)))
