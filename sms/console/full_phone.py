"""Numbers in full for who may see them (`sms.view_full_phone`), masked for others."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from sms.text.redaction import mask_phone


def may_see(request: HttpRequest) -> bool:
    return request.user.has_perm("sms.view_full_phone")


def of(request: HttpRequest, phone: str) -> str:
    return phone if may_see(request) else mask_phone(phone)


def shown(request: HttpRequest) -> Callable[[Any], str]:
    """A column of the admin for rows with a `phone`."""

    @admin.display(description="phone", ordering="phone")
    def phone(row: Any) -> str:
        return of(request, row.phone)

    return phone
