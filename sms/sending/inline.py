"""A text sent in this process, by one try, and one more where the first is in doubt and no report has come."""

import random
import time

from django.db import DatabaseError, InterfaceError, connection

from sms import conf
from sms.database import close_if_unavailable
from sms.dmark import blocking, conversation
from sms.dmark.exchange import Exchange, log_exchange
from sms.errors import InDoubt, SmsError
from sms.models import SmsMessage, Status
from sms.sending import eligibility, rate_limit
from sms.sending.attempt import Outcome, conclude, opening
from sms.sending.claims import Text
from sms.sending.retries import DOUBT_DELAYS


def attempt(message: Text) -> Outcome:
    """Send a text that this process has claimed. The outcome is its end: nobody tries later."""
    config = conf.current()
    if not_now := eligibility.refused([message], config).get(message.pk):
        if not_now.frees_throttle:
            rate_limit.release(message.phone, message.kind, message.pk)
        return not_now
    exchanges: list[Exchange] = []

    def note(exchange: Exchange) -> None:
        exchanges.append(exchange)
        log_exchange(message, exchange)

    budget = conversation.Budget(config.send_budget)
    result = _once(message, config, note, budget)
    # A text that was put back, and whose task comes once more, may have been asked for often enough.
    if isinstance(result, InDoubt) and message.doubts < len(DOUBT_DELAYS):
        wait = random.uniform(*conversation.PAUSES[0])  # noqa: S311
        time.sleep(wait)
        budget.spent += wait
        if budget.allows(0) and _still_ours(message):
            result = _once(message, config, note, budget)
    outcome = conclude(message, result, exchanges)
    if outcome.frees_throttle:
        rate_limit.release(message.phone, message.kind, message.pk)
    return outcome


def _once(
    message: Text, config: conf.Config, note: conversation.OnExchange, budget: conversation.Budget
) -> str | Exception:
    try:
        return blocking.run(opening(message, config, note, budget), config, note)
    except SmsError as error:
        return error
    # Whatever it was, the text needs an end that an operator can see.
    except Exception as error:  # noqa: BLE001
        return error


def _still_ours(message: Text) -> bool:
    """Return False if a delivery report has arrived, which proves that DMark has the message."""
    row = SmsMessage.objects.filter(pk=message.pk, status=Status.SENDING, claim=message.claim)
    try:
        return row.exists()
    except (DatabaseError, InterfaceError) as error:
        # The connection may have been lost during the send.
        if connection.in_atomic_block or not close_if_unavailable(error):
            raise
    return row.exists()
