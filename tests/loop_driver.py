"""Run one conversation with DMark in the worker's engine, without a database."""

import threading
from datetime import datetime, timezone
from typing import Any

from sms import clock, conf
from sms.dmark.conversation import Conversation
from sms.dmark.exchange import Exchange
from sms.sending.claims import ClaimedRow
from sms.worker.engine.loop import Engine, Job


def over_loop(talk: Conversation[str], config: conf.Config, exchanges: list[Exchange]) -> Any:
    """Return the result or the error of a conversation. Token requests are added to `exchanges` too."""
    ended = threading.Event()
    loop = Engine(config, in_flight=1, unrecorded=1, batch=1, wake_owner=ended.set)
    loop.leases_hold_until = clock.monotonic() + 60
    far = datetime(2099, 1, 1, tzinfo=timezone.utc)
    job = Job(ClaimedRow(1, "+256772123456", "x", "", None, far, "", 0, 0, 0, ""), lambda note: talk, float("inf"))
    job.exchanges = exchanges
    loop.tokens.start()
    loop.start()
    loop.submit([job])
    try:
        assert ended.wait(30)
    finally:
        assert loop.quit(5)
    return job.ending
