"""The types that an adopter sees without the plugin of django-stubs. `make lint` checks this file; nothing runs it."""

from typing import assert_type

from sms.models import SmsEvent, SmsMessage, Status
from sms.outbox import NewMessage, queue_many, queue_sms, send_sms
from sms.testing import Texts, assert_texted

message = queue_sms("0772123456", "Hello.", kind="greeting", dedupe_key="order:1:sent")
assert_type(message, SmsMessage)
assert_type(message.events.first(), SmsEvent | None)
assert_type(list(message.events.filter(what="attempt")), list[SmsEvent])
assert_type(send_sms("0772123456", "Hello."), SmsMessage)
assert_type(assert_texted("0772123456", "Hello."), SmsMessage)
assert_type(Texts()[0], SmsMessage)
sent: bool = message.status == Status.SENT
queue_many([NewMessage("0772123456", "Hello.")])
