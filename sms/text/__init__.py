"""Values: phone numbers, segments, what must not be read. What the apps beside `sms` use of them is named here."""

from sms.text.phone import to_e164, to_local
from sms.text.redaction import mask_phone, redact

__all__ = ["mask_phone", "redact", "to_e164", "to_local"]
