"""Hand messages to Django's tasks framework (`SMS_DELIVERY=tasks`), for projects that run a task queue already.

The row decides: a task looks at one row once. If the queue loses, doubles or drops a task, or a message must be sent
later, the claim and any `sms_worker --once` (from cron, for example) put it right.
"""

import uuid

import django

from sms import conf
from sms.sending.claims import claim
from sms.sending.inline import attempt
from sms.sending.results import record
from sms.sending.retries import settle

if django.VERSION >= (6, 0):
    from django.tasks import task
else:  # the backport, a package of its own
    from django_tasks import task  # type: ignore[no-redef]


@task()
def deliver(message_id: int) -> None:
    """Send one message if it is due and not claimed by another sender. A retry waits in the row."""
    config = conf.current()
    for message in claim(uuid.uuid4().hex, 1, config.lease + config.longest_send, message_id):
        record([settle(attempt(message))])


def hand_over(message_id: int) -> None:
    deliver.enqueue(message_id)
