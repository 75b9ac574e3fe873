"""A message's way in plain words, for a person who answers a customer's complaint."""

from datetime import datetime
from typing import NamedTuple

from sms import clock
from sms.dlr.statuses import final_status
from sms.models import SmsEvent, SmsMessage, Status


class Line(NamedTuple):
    """`tone`: good, bad or plain; `answer`: what DMark said, word for word but redacted."""

    at: datetime
    tone: str
    title: str
    meaning: str
    answer: str = ""


# What each status means, and what an operator can do about it.
MEANINGS: dict[str, str] = {
    Status.QUEUED: "It waits to be sent.",
    Status.SENDING: "It is being sent at this moment.",
    Status.UNKNOWN: "DMark may have it: a request was not answered in full, or not as DMark answers, and no report has "
    "come. Ask the player before you send it again, since it may arrive twice.",
    Status.SENT: "DMark took it. Whether the phone has it is known when DMark reports.",
    Status.DELIVERED: "The phone has it.",
    Status.UNDELIVERED: "DMark took it, but the network could not deliver it: phone off, out of reach, or not in use. "
    "Ask the customer for the number, then send again.",
    Status.FAILED: "It was not sent. See why below; when that is mended, send again.",
    Status.RATE_LIMITED: "It was not sent, because this phone had the same kind of text a moment before. Send again.",
    Status.EXPIRED: "Its time was over before it could be sent.",
    Status.CANCELLED: "It was not sent: an operator took it back, or the number is never texted.",
    Status.DISABLED: "It was not sent, because SMS was off when it was queued. Turn it on, then send again.",
}


def lines(message: SmsMessage) -> list[Line]:
    """Everything that happened to it, oldest first."""
    start = "SMS was off: not sent." if message.status == Status.DISABLED else "It leaves at once."
    found = [Line(message.created_at, "plain", "Queued", start)]
    found += [_line(event) for event in message.events.all()]
    if message.status == Status.QUEUED and message.due_at > clock.now():
        found.append(Line(message.due_at, "plain", "Next try", message.error or "It was put back for later."))
    if message.status in (Status.QUEUED, Status.SENDING, Status.RATE_LIMITED):
        found.append(Line(message.expires_at, "plain", "Expires", "It is not sent after this."))
    return sorted(found, key=lambda line: line.at)


def _line(event: SmsEvent) -> Line:
    if event.what == SmsEvent.What.RESEND:
        return Line(event.at, "plain", f"Sent again by {event.actor or 'somebody unknown'}", "Queued once more.")
    if event.what == SmsEvent.What.CANCEL:
        return Line(event.at, "bad", f"Cancelled by {event.actor or 'the worker'}", event.error)
    if event.what == SmsEvent.What.OPENED:
        return Line(event.at, "good", "Its link was opened for the first time", "Somebody followed it; not known who.")
    if event.what == SmsEvent.What.REPORT:
        return _report(event)
    http = f"HTTP {event.http_status}, " if event.http_status else ""
    took = f" ({http}{event.ms} ms)"
    if event.step == "throttle":
        return Line(event.at, "plain", "Held back by the rate limit", event.error)
    if event.step == "token":
        return Line(event.at, "bad", f"No access token from DMark{took}", event.error, event.answer)
    if event.step == "send" and event.error:
        return Line(event.at, "bad", f"DMark did not take it, request {event.attempt}{took}", event.error, event.answer)
    if event.step == "send":
        number = f"It is number {event.provider_id} there." if event.provider_id else "It gave no number."
        return Line(event.at, "good", f"DMark took it{took}", number, event.answer)
    return Line(event.at, "bad", "Not sent", event.error)


def _report(event: SmsEvent) -> Line:
    how = "DMark reported" if event.step == "push" else "DMark answered when asked"
    end = final_status(event.answer)
    if end == Status.DELIVERED:
        return Line(event.at, "good", f"{how}: delivered", "The phone has it.", event.answer)
    if end == Status.UNDELIVERED:
        return Line(event.at, "bad", f"{how}: not delivered", "The network gave up.", event.answer)
    return Line(event.at, "plain", f"{how}: still on its way", "Neither arrived nor given up yet.", event.answer)
