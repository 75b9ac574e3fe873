"""Send a message in this process. An ambiguous request is repeated at most once."""

import random

from sms import clock, conf, runtime
from sms.dmark import blocking, conversation
from sms.dmark.exchange import Exchange, log_exchange
from sms.errors import InDoubt
from sms.models import Status
from sms.sending import eligibility, rate_limit
from sms.sending.attempt import MAX_AMBIGUOUS, Result, conclude, send_conversation
from sms.sending.claims import ClaimedMessage, count_ahead
from sms.sending.results import retry_once


def attempt(message: ClaimedMessage) -> Result:
    """Send a message that this process has claimed. Return the result, which `settle` may turn into a retry."""
    config = conf.current()
    result = eligibility.refused([message], config).get(message.pk) or _send(message, config)
    if result.frees_rate_limit:
        rate_limit.release_many([message])
    return result


def _send(message: ClaimedMessage, config: conf.Config) -> Result:
    exchanges: list[Exchange] = []
    budget = conversation.Budget(config.send_budget)

    def on_exchange(exchange: Exchange) -> None:
        exchanges.append(exchange)
        log_exchange(message, exchange)

    def send() -> str | Exception:
        try:
            return blocking.run(send_conversation(message, config, on_exchange, budget), config, on_exchange)
        # Catch every error, because the message needs a status that an operator can see.
        except Exception as error:  # noqa: BLE001
            return error

    def counted(requests: int) -> bool:
        return bool(retry_once(lambda: count_ahead(message.claim, [message.pk], requests)))

    known = message.ambiguous_requests
    if known and not counted(1):
        return Result(message, Status.QUEUED, clock.now(ask=False))
    ending = send()
    # `known`: number of ambiguous requests in earlier attempts to send this message. They count toward MAX_AMBIGUOUS.
    if isinstance(ending, InDoubt) and known + 1 < MAX_AMBIGUOUS:
        wait = random.uniform(*conversation.PAUSES[0])  # noqa: S311
        runtime.current.sleep(wait)
        budget.spent += wait
        # If `known` is 0, the first request was not counted above. Count both requests now.
        if budget.allows(0) and counted(1 if known else 2):
            ending = send()
    return conclude(message, ending, exchanges)
