"""The history of a message in plain words, for operators who answer a customer's complaint."""

from datetime import datetime
from typing import NamedTuple

from sms import clock
from sms.conf import PROVIDER
from sms.dlr.statuses import final_status
from sms.models import SmsEvent, SmsMessage, SmsPause, Status
from sms.stats import status


class Line(NamedTuple):
    """One line in the history of a message. `tone`: good, bad or plain. `expected`: True for an event in the future."""

    at: datetime
    tone: str
    title: str
    meaning: str
    answer: str = ""
    expected: bool = False


# For each status: its meaning, and the operator's next step if there is one.
MEANINGS: dict[str, str] = {
    Status.QUEUED: "Waiting to be sent.",
    Status.SENDING: "Being sent at this moment.",
    Status.UNKNOWN: f"{PROVIDER}'s reply was missing or unclear and there is no delivery report. Ask the customer "
    "before resending: it could arrive twice.",
    Status.SENT: f"{PROVIDER} accepted it. The delivery report will show if the phone received it.",
    Status.DELIVERED: "Delivered to the phone.",
    Status.UNDELIVERED: f"{PROVIDER} accepted it, but the network could not deliver it: the phone is off, out of "
    "reach, or the number is not in use. Check the number with the customer, then resend.",
    Status.FAILED: "It was not sent. Fix the reason below, then resend.",
    Status.RATE_LIMITED: "It was not sent, because this phone had received the same kind of text a moment before. "
    "Resend it.",
    Status.EXPIRED: "It expired before it could be sent.",
    Status.CANCELLED: "It was not sent: an operator cancelled it, or the number is on the do-not-text list.",
    Status.DISABLED: "It was not sent, because SMS was switched off. Switch SMS on, then resend.",
}


class Sending:
    """The reasons why queued messages are not sent. The state of sending is read once, when the object is created."""

    def __init__(self) -> None:
        self._reading = status.read(clock.now())

    def obstacle(self, message: SmsMessage) -> str:
        """Return the reason why a queued message is not being sent, or "" if no reason is known."""
        reading = self._reading
        if not reading.config.enabled:
            return "SMS is switched off."
        for pause in reading.pauses:
            if pause.kind in (SmsPause.ALL, message.kind):
                return pause.sentence
        if reading.config.delivery == "worker" and not reading.workers:
            return "No SMS worker is running."
        config = reading.config
        late = (clock.now() - message.due_at).total_seconds()
        if config.delivery != "worker" and late > config.lease + config.longest_send:
            return "No process is sending it any more. Run manage.py sms_worker --once."
        return ""


def lines(message: SmsMessage, sending: Sending | None = None) -> list[Line]:
    """Return the history of a message as lines, oldest first. Events that are still expected come last."""
    waiting = message.status == Status.QUEUED
    obstacle = (sending or Sending()).obstacle(message) if waiting else ""
    found = sorted((_line(event) for event in message.events.all()), key=lambda line: line.at)
    # A canceled message without events was canceled when it was queued, because its number was suppressed.
    if message.status == Status.CANCELLED and not found:
        return [Line(message.created_at, "bad", "Not sent", message.error)]
    start = "SMS was switched off, so it was not sent." if message.status == Status.DISABLED else ""
    found.insert(0, Line(message.created_at, "plain", "Queued", start))
    if waiting:
        now = clock.now()
        if obstacle:
            found.append(Line(now, "bad", "Not sent at the moment", obstacle))
        elif message.due_at > now:
            found.append(Line(message.due_at, "plain", "Next attempt", message.error, expected=True))
        else:
            found.append(Line(now, "plain", "Ready to send", ""))
    if message.status in (Status.QUEUED, Status.SENDING, Status.RATE_LIMITED):
        found.append(Line(message.expires_at, "plain", "Expires", "It is not sent after this time.", expected=True))
    return found


def _line(event: SmsEvent) -> Line:
    if event.what == SmsEvent.What.RESEND:
        return Line(event.at, "plain", f"Resent by {event.actor or 'an unknown user'}", "Queued once more.")
    if event.what == SmsEvent.What.CANCEL:
        return Line(event.at, "bad", f"Cancelled by {event.actor or 'the worker'}", event.error)
    if event.what == SmsEvent.What.OPENED:
        return Line(event.at, "good", "Link clicked for the first time", "We do not know who clicked it.")
    if event.what == SmsEvent.What.REPORT:
        return _report(event)
    http = f"HTTP {event.http_status}, " if event.http_status else ""
    took = f" ({http}{event.ms:,} ms)"
    if event.step == "throttle":
        return Line(event.at, "plain", "Kept back by the rate limit", event.error)
    if event.step == "token":
        return Line(event.at, "bad", f"No access token from {PROVIDER}{took}", event.error, event.answer)
    if event.step == "send" and event.error:
        return Line(event.at, "bad", f"Attempt {event.attempt}: {_failure(event)}{took}", event.error, event.answer)
    if event.step == "send":
        number = (
            f"{PROVIDER} message ID {event.provider_id}." if event.provider_id else f"{PROVIDER} gave no message ID."
        )
        return Line(event.at, "good", f"Accepted by {PROVIDER}{took}", number, event.answer)
    return Line(event.at, "bad", "Not sent", event.error)


def _failure(event: SmsEvent) -> str:
    """Describe the failure of a send request in a few words."""
    if event.http_status is None:
        return f"no clear reply from {PROVIDER}"
    if event.http_status < 300:
        return f"{PROVIDER}'s reply was not valid"
    return f"refused by {PROVIDER}" if event.http_status < 500 else f"{PROVIDER} had an error"


def _report(event: SmsEvent) -> Line:
    how = "Delivery report" if event.step == "push" else f"{PROVIDER}'s status, polled by us"
    end = final_status(event.answer)
    if end == Status.DELIVERED:
        return Line(event.at, "good", f"{how}: delivered", "Delivered to the phone.", event.answer)
    if end == Status.UNDELIVERED:
        return Line(event.at, "bad", f"{how}: not delivered", "The network could not deliver it.", event.answer)
    return Line(event.at, "plain", f"{how}: on its way", "Neither delivered nor given up yet.", event.answer)
