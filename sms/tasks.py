"""Texts handed to Django's tasks framework (`SMS_DELIVERY=tasks`), for who runs a task queue already.

The row stays the truth: a task is one look at one row. What the queue loses, doubles or drops with its worker, and what
is to be tried later, is put right by the claim and by any `sms_worker --once`, from cron say.
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
    """Send one text, if it is due and nobody else has it. What may pass later waits in its row."""
    config = conf.current()
    for message in claim(uuid.uuid4().hex, 1, config.lease + config.longest_send, message_id):
        record([settle(attempt(message))])


def hand_over(message_id: int) -> None:
    deliver.enqueue(message_id)
