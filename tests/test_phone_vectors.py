"""Test every function that reads phone numbers, in every app, with the table in tests/phone_vectors.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django import forms

from game.api.schemas import StakeIn
from game.pages.forms import PhoneField
from payments import phones
from sms.errors import InvalidPhone
from sms.text import to_e164
from tests.phone_vectors import BAD, FIXED, GOOD, NUMBER

ROOT = Path(__file__).parents[1]


def api(raw: object) -> str:
    return str(StakeIn.model_validate({"phone_number": raw, "stake_amount": 5000}).phone_number)


def page(raw: object) -> str:
    try:
        return PhoneField().clean(raw)
    except forms.ValidationError as error:
        raise ValueError(str(error)) from None


READERS: dict[str, Callable[[object], str]] = {
    "sms": to_e164,
    "api": api,
    "page": page,
    "payments": phones.to_e164,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("raw", GOOD, ids=ascii)
def test_one_number(reader: str, raw: object) -> None:
    assert READERS[reader](raw) == NUMBER


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("raw", [*BAD, *FIXED], ids=lambda raw: ascii(raw)[:30])
def test_no_mobile_number(reader: str, raw: object) -> None:
    """Payments accept fixed lines and foreign numbers, because a provider may report any payer."""
    try:
        number = READERS[reader](raw)
    except ValueError:
        return
    assert reader == "payments"
    assert number != NUMBER
    assert not number.startswith("+2567")


@pytest.mark.parametrize("raw", [*BAD, *FIXED], ids=lambda raw: ascii(raw)[:30])
def test_a_refusal_is_one_sentence(raw: object) -> None:
    with pytest.raises(InvalidPhone, match=r"^(The phone number|Please use|That is not) .*\. Write it like .*\.$"):
        to_e164(raw)


def test_both_apps_read_a_notation_with_the_same_code() -> None:
    """`payments` must not import `sms` or `game`, so it has a copy of the code."""
    ours = (ROOT / "sms" / "text" / "phone.py").read_text()
    end = 'unicodedata.normalize("NFKC", char)'
    copied = ours[ours.index("LONGEST =") : ours.index(end) + len(end)]
    assert copied in (ROOT / "payments" / "phones.py").read_text()
