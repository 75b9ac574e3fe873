"""Send one message with the worker's engine, without a database."""

import threading
from datetime import datetime, timezone
from functools import partial
from typing import Any

from sms import clock, conf
from sms.dmark import conversation
from sms.dmark.exchange import Exchange
from sms.sending.claims import ClaimedRow
from sms.worker.engine.loop import Engine, Job


def over_loop(config: conf.Config, exchanges: list[Exchange]) -> Any:
    """Return DMark's id of the message, or the error. Token requests are added to `exchanges` too."""
    ended = threading.Event()
    loop = Engine(config, in_flight=1, unrecorded=1, batch=1, wake_owner=ended.set)
    loop.leases_hold_until = clock.monotonic() + 60
    far = datetime(2099, 1, 1, tzinfo=timezone.utc)
    start = partial(conversation.send, config, "0772123456", "hello", "")
    job = Job(ClaimedRow(1, "+256772123456", "hello", "", None, far, "", 0, 0, 0, ""), start, float("inf"))
    job.exchanges = exchanges
    loop.tokens.start()
    loop.start()
    loop.submit([job])
    try:
        assert ended.wait(30)
    finally:
        assert loop.quit(5)
    return job.ending
