"""Numbers in full for who may see them (`sms.view_full_phone`), masked for others."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest


def columns(request: HttpRequest, names: Sequence[Any]) -> list[Any]:
    """The columns or fields of an admin, with `phone` for `masked_phone` where this user may see it."""
    in_full = request.user.has_perm("sms.view_full_phone")
    return ["phone" if name == "masked_phone" and in_full else name for name in names]
