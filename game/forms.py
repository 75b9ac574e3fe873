"""The stake form of the pages: the API's rules, with each error beside its field."""

from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from game.codes import read_code
from game.schemas import MAX_NAME, readable
from game.stakes import Stake
from sms.phone import to_e164

PRESETS = (1000, 2000, 5000, 10000)


class StakeForm(forms.Form):
    """Who plays, for how much, and against whom."""

    phone_number = forms.CharField(
        label=_("Your mobile number"),
        max_length=40,
        widget=forms.TextInput(attrs={"type": "tel", "autocomplete": "tel", "placeholder": "0772123456"}),
    )
    display_name = forms.CharField(
        label=_("Your name (optional)"),
        max_length=MAX_NAME,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "nickname"}),
    )
    stake_amount = forms.CharField(
        label=_("Your stake in UGX"), max_length=12, widget=forms.TextInput(attrs={"inputmode": "numeric"})
    )
    opponent = forms.ChoiceField(
        label=_("Who do you play against?"),
        choices=(("anyone", _("Anyone")), ("friend", _("Invite a friend")), ("code", _("I have a code"))),
        initial="anyone",
        widget=forms.RadioSelect,
    )
    invite_phone = forms.CharField(
        label=_("Your friend's number (optional)"),
        help_text=_("We text your friend the code and a link."),
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs={"type": "tel", "autocomplete": "off"}),
    )
    match_code = forms.CharField(
        label=_("Match code"),
        max_length=20,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "characters"}),
    )

    def clean_phone_number(self) -> str:
        return _said(to_e164, self.cleaned_data["phone_number"])

    def clean_display_name(self) -> str:
        return _said(lambda value: readable(value, "display_name", MAX_NAME), self.cleaned_data["display_name"])

    def clean_stake_amount(self) -> int:
        text = self.cleaned_data["stake_amount"].replace(" ", "").replace(",", "")
        if not (text.isascii() and text.isdigit()):
            raise forms.ValidationError(_("The stake must be whole UGX, like 1000."))
        amount = int(text)
        if not settings.MIN_STAKE_AMOUNT <= amount <= settings.MAX_STAKE_AMOUNT:
            raise forms.ValidationError(
                _("The stake must be from %(least)s to %(most)s UGX."),
                params={"least": settings.MIN_STAKE_AMOUNT, "most": settings.MAX_STAKE_AMOUNT},
            )
        return amount

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        opponent = data.get("opponent")
        if opponent == "friend" and data.get("invite_phone"):
            try:
                data["invite_phone"] = to_e164(data["invite_phone"])
            except ValueError as error:
                self.add_error("invite_phone", str(error))
        if opponent == "code":
            try:
                data["match_code"] = read_code(data.get("match_code") or "")
            except ValueError as error:
                self.add_error("match_code", str(error))
        return data

    def stake(self, address: str) -> Stake:
        """The order, once the form is valid. What belongs to another choice of opponent is left out."""
        data = self.cleaned_data
        friend, code = data["opponent"] == "friend", data["opponent"] == "code"
        return Stake(
            phone=data["phone_number"],
            amount=data["stake_amount"],
            display_name=data["display_name"],
            create_private=friend,
            invite_phone=data["invite_phone"] if friend else "",
            match_code=data["match_code"] if code else "",
            address=address,
        )


def _said(read: Any, value: str) -> str:
    try:
        return str(read(value))
    except ValueError as error:
        raise forms.ValidationError(str(error)) from None
