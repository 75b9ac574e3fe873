"""A form field for phone numbers, used by the stake form and the form *Text me my link*."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from game.wording import translated
from sms.text import to_e164

ERRORS = {"required": _("Please fill this in."), "max_length": _("This is too long.")}


class PhoneField(forms.CharField):
    """A form field for a Ugandan mobile number in any notation. Its cleaned value is in E.164."""

    def __init__(self) -> None:
        super().__init__(
            label=_("Your mobile number"),
            max_length=40,
            widget=forms.TextInput(attrs={"type": "tel", "autocomplete": "tel", "placeholder": "0772 123 456"}),
            error_messages=ERRORS,
        )

    def clean(self, value: Any) -> str:
        return parsed(to_e164, super().clean(value))


def parsed(parse: Callable[[str], object], value: str) -> str:
    """Return `parse(value)`.

    If `parse` raises ValueError, show the error beside the form field, in the page's language.
    """
    try:
        return str(parse(value))
    except ValueError as error:
        raise forms.ValidationError(translated(error)) from None
