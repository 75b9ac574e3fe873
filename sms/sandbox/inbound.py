"""Send an SMS to the site in the way that DMark delivers inbound SMS.

The user wrote the SMS on one of the sandbox's phones.
"""

import logging

import requests

from sms.sandbox.state import Reply

logger = logging.getLogger("sms.sandbox")


def deliver(url: str, reply: Reply) -> None:
    """Post an SMS to `url` with the fields that DMark's older host uses. Store the site's response in `reply.note`."""
    fields = {"msisdn": "256" + reply.number[1:], "text": reply.text, "short_code": "8008", "tstamp": reply.sent_at}
    try:
        status = requests.post(url, fields, timeout=5, allow_redirects=False).status_code
    except requests.RequestException as error:
        logger.warning("sandbox: an inbound SMS got no answer (%s)", type(error).__name__)
        reply.note = "the site did not answer"
        return
    reply.note = "received by the site" if status == 200 else f"the site answered {status}"
