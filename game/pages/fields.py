"""The field that two forms have: a player's own number."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from game.wording import translated
from sms.text import to_e164

ERRORS = {"required": _("Please fill this in."), "max_length": _("That is too long.")}


class PhoneField(forms.CharField):
    """A Ugandan mobile number in any notation, as E.164."""

    def __init__(self) -> None:
        super().__init__(
            label=_("Your mobile number"),
            max_length=40,
            widget=forms.TextInput(attrs={"type": "tel", "autocomplete": "tel", "placeholder": "0772123456"}),
            error_messages=ERRORS,
        )

    def clean(self, value: Any) -> str:
        return said(to_e164, super().clean(value))


def said(read: Any, value: str) -> str:
    """What `read` makes of it, or its sentence beside the field."""
    try:
        return str(read(value))
    except ValueError as error:
        raise forms.ValidationError(translated(error)) from None
