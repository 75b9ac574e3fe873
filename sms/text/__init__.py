"""Phone numbers, SMS segments and redaction, without a database.

Other apps may import the names in `__all__`.
"""

from sms.text.phone import to_e164, to_local
from sms.text.redaction import mask_phone, redact
from sms.text.segments import segments as count_segments

__all__ = ["count_segments", "mask_phone", "redact", "to_e164", "to_local"]
