"""The forms of the players' pages. They apply the same rules as the API."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.conf import settings
from django.http import QueryDict
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from game.models import Entry
from game.rules.codes import LONGEST_TEXT, read_code
from game.rules.placing import Stake
from game.rules.validation import MAX_NAME, Refused, check_amount, payable, prize, read_amount, read_name
from game.wording import translated
from sms.formats import masked, spaced
from sms.text import to_e164

ERRORS = {"required": _("Please fill this in."), "max_length": _("This is too long.")}


class PhoneField(forms.CharField):
    """A form field for a Ugandan mobile number in any notation. The cleaned value is in E.164."""

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
    """Return `parse(value)` as a `str`. A ValueError becomes a translated form error."""
    try:
        return str(parse(value))
    except ValueError as error:
        raise forms.ValidationError(translated(error)) from None


_PRESETS = (1000, 2000, 5000, 10000)


def presets() -> list[int]:
    return [amount for amount in _PRESETS if settings.MIN_STAKE_AMOUNT <= amount <= settings.MAX_STAKE_AMOUNT]


class StakeForm(forms.Form):
    """The form to place a stake."""

    phone_number = PhoneField()
    display_name = forms.CharField(
        label=_("Your name (optional)"),
        max_length=MAX_NAME,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "nickname"}),
        error_messages=ERRORS,
    )
    stake_amount = forms.CharField(
        label=_("Your stake in UGX"),
        max_length=30,
        # Do not add autocomplete="off": browsers would clear this field on Back.
        widget=forms.TextInput(attrs={"inputmode": "numeric"}),
        error_messages=ERRORS,
    )
    opponent = forms.ChoiceField(
        label=_("Who will you play against?"),
        # A new form preselects *Invite a friend*, so that nobody plays against a stranger by mistake.
        choices=(("friend", _("Invite a friend")), ("code", _("I have a code")), ("anyone", _("Anyone"))),
        initial="friend",
        widget=forms.RadioSelect,
        error_messages={"required": _("Please choose one."), "invalid_choice": _("Please choose one of these.")},
    )
    invite_phone = forms.CharField(
        label=_("Your friend's number (optional)"),
        help_text=_("We'll text your friend the code and a link."),
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs={"type": "tel", "autocomplete": "section-friend tel"}),
        error_messages=ERRORS,
    )
    match_code = forms.CharField(
        label=_("Match code"),
        max_length=LONGEST_TEXT,
        required=False,
        widget=forms.TextInput(attrs={"autocapitalize": "characters"}),
        error_messages=ERRORS,
    )
    joining: Entry | None = None

    def clean_display_name(self) -> str:
        return str(parsed(read_name, self.cleaned_data["display_name"]))

    def clean_stake_amount(self) -> int:
        amount = int(parsed(read_amount, self.cleaned_data["stake_amount"]))
        try:
            check_amount(amount)
        except Refused as refusal:
            raise forms.ValidationError(refusal.translated()) from None
        return amount

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        opponent = data.get("opponent")
        if opponent == "friend" and data.get("invite_phone"):
            self._read("invite_phone", to_e164)
        if opponent == "code":
            self._read("match_code", read_code)
        return data

    def _read(self, name: str, read: Any) -> None:
        try:
            self.cleaned_data[name] = parsed(read, self.cleaned_data.get(name) or "")
        except forms.ValidationError as error:
            self.add_error(name, error)

    def join(self, entry: Entry) -> None:
        """Prepare the form to join a friend's match. The player must then stake the same amount as the friend."""
        self.joining = entry
        self.initial.update(opponent="code", match_code=entry.match_code, stake_amount=str(entry.stake_amount))
        if isinstance(self.data, QueryDict):
            data = self.data.copy()
            data["stake_amount"] = str(entry.stake_amount)
            self.data = data
        self.fields["match_code"].widget.attrs["readonly"] = True

    @property
    def prize(self) -> int:
        return prize(self.joining.stake_amount) if self.joining else 0

    @property
    def inviter_number(self) -> str:
        """Return the inviter's phone number, masked. The visible digits are enough for a friend to recognize it."""
        return masked(self.joining.phone) if self.joining else ""

    @property
    def payable(self) -> int:
        """Return the amount for the *Pay* button, or 0 if the stake field contains no amount."""
        try:
            return payable(read_amount(str(self["stake_amount"].value() or "")))
        except ValueError:
            return 0

    def focus_on_error(self) -> None:
        """Put the focus on the first field with an error, so that a screen reader starts there."""
        for name in self.fields:
            if name in self.errors:
                self.fields[name].widget.attrs["autofocus"] = True
                return

    def stake(self, address: str) -> Stake:
        """Return the stake from a valid form. `address`: the client's IP address."""
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
            language=get_language() or "",
        )


class LinkForm(forms.Form):
    phone_number = PhoneField()


def initial_of(entry: Entry) -> dict[str, str]:
    """Return form values to place the same stake again."""
    return {
        "phone_number": spaced(entry.phone),
        "display_name": entry.display_name,
        "stake_amount": str(entry.stake_amount),
        "opponent": "friend" if entry.match_code else "anyone",
        "invite_phone": spaced(entry.invite_phone) if entry.invite_phone else "",
    }
