"""Match codes: 6 characters without the ones that look alike."""

import secrets

from django.utils.translation import gettext_noop as _

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
LENGTH = 6


def new_code() -> str:
    return "".join(secrets.choice(ALPHABET) for place in range(LENGTH))


def read_code(text: str) -> str:
    """The code in capitals; raises ValueError when it cannot be one."""
    code = text.strip().upper()
    if len(code) != LENGTH or any(char not in ALPHABET for char in code):
        raise ValueError(_("A match code has 6 letters and digits, like ABC234."))
    return code
