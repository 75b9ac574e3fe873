"""The forms of the admin pages for messages, pauses and the suppression list."""

from datetime import datetime
from datetime import timezone as zones
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from sms import clock
from sms.console.filters import kinds
from sms.errors import InvalidPhone
from sms.models import RESENDABLE, SmsMessage, SmsPause, SmsSuppression
from sms.stats import failures
from sms.text.phone import to_e164

_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=zones.utc) for year in (2000, 3000))


class PhoneField(forms.CharField):
    """Form field that accepts a Ugandan mobile number in any notation. The cleaned value is in E.164."""

    def __init__(self) -> None:
        widget = forms.TextInput(attrs={"type": "tel", "placeholder": "0772 123 456"})
        super().__init__(label=_("Phone"), max_length=60, widget=widget)

    def clean(self, value: Any) -> str:
        try:
            return to_e164(super().clean(value))
        except InvalidPhone as error:
            raise forms.ValidationError(str(error)) from None


class TestForm(forms.Form):
    """Form for the phone number that receives a test message."""

    phone = PhoneField()


class FailedForm(forms.Form):
    """Form that selects failed messages. An empty `reason` means any reason. An empty `since` means the last day."""

    status = forms.ChoiceField(label=_("Status"), choices=[(one.value, one.label) for one in RESENDABLE])
    reason = forms.CharField(
        label=_("Reason"), required=False, strip=False, widget=forms.TextInput(attrs={"placeholder": _("any reason")})
    )
    since = forms.DateTimeField(
        label=_("Queued after"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        # Python cannot convert times near the years 1 and 9999 to another time zone.
        validators=[MinValueValidator(_FIRST), MaxValueValidator(_LAST)],
    )

    def rows(self) -> "QuerySet[SmsMessage]":
        since = self.cleaned_data["since"] or clock.now() - failures.SPAN
        rows = SmsMessage.objects.filter(status=self.cleaned_data["status"], created_at__gte=since)
        reason = self.cleaned_data["reason"]
        return failures.with_reason(rows, reason) if reason else rows


class PauseForm(forms.ModelForm):
    # A field that is declared here does not use the model's default. Without `initial`, the form would preselect the
    # kind "" (plain texts).
    kind = forms.ChoiceField(label=_("What to pause"), required=False, initial=SmsPause.ALL)

    class Meta:
        model = SmsPause
        fields = ("kind", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = [(kind, f"{kind or 'plain'} texts") for kind in kinds()]
        if "kind" in self.fields:
            self.fields["kind"].choices = [(SmsPause.ALL, "all texts"), *known]  # type: ignore[attr-defined]


class SuppressionForm(forms.ModelForm):
    phone = PhoneField()

    class Meta:
        model = SmsSuppression
        fields = ("phone", "reason")

    def validate_unique(self) -> None:
        """Accept a number whose entry on the suppression list comes from a STOP.

        The operator's entry replaces the STOP entry, and also blocks transactional messages.
        """
        stopped = SmsSuppression.objects.filter(source=SmsSuppression.Source.STOP)
        if not stopped.filter(phone=self.cleaned_data.get("phone")).exists():
            super().validate_unique()
