"""Delivery through Django's tasks framework (`SMS_DELIVERY=tasks`), for projects that already run a task queue.

A task claims its message before it sends, so a task that runs twice sends one message. Run `sms_worker --once` from
cron for messages whose task was lost, and for messages that must be sent later.
"""

import uuid

import django

from sms import conf
from sms.sending.attempt import settle
from sms.sending.claims import claim
from sms.sending.inline import attempt
from sms.sending.results import record

if django.VERSION >= (6, 0):
    from django.tasks import task
else:  # Before Django 6, the package django-tasks provides the tasks framework.
    from django_tasks import task  # type: ignore[no-redef]


@task()
def deliver(message_id: int) -> None:
    """Send one message if it is due and unclaimed. If the attempt is to be retried, the message stays queued."""
    config = conf.current()
    for message in claim(uuid.uuid4().hex, 1, config.lease + config.longest_send, message_id):
        record([settle(attempt(message))])


def hand_over(message_id: int) -> None:
    deliver.enqueue(message_id)
