"""Every notation of a Ugandan mobile number is accepted, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.errors import InvalidPhone
from sms.text.phone import to_e164, to_local


@pytest.mark.parametrize("prefixes", ["0725", "070, 0725 ,", ["0725"]])
def test_a_prefix_that_libphonenumber_does_not_know(settings: Any, prefixes: object) -> None:
    with pytest.raises(InvalidPhone):
        to_e164("0725123456")
    settings.SMS_EXTRA_MOBILE_PREFIXES = prefixes
    assert to_e164("0725 123 456") == to_e164("+256725123456") == "+256725123456"
    for raw in ("072512345", "07251234567", "+254725123456", "0728123456", "0312345678"):
        with pytest.raises(InvalidPhone):
            to_e164(raw)


def test_the_oldest_phonenumbers_that_may_be_installed_knows_mtn_079() -> None:
    assert [to_e164(f"079{digit}123456") for digit in "0123458"]


def test_local() -> None:
    assert to_local("+256772123456") == "0772123456"


@given(st.integers(0, 9_999_999), st.sampled_from(["070", "074", "075", "076", "077", "078"]), st.data())
def test_every_notation_of_a_mobile_number_is_one_number(number: int, prefix: str, data: st.DataObject) -> None:
    national = f"{prefix[1:]}{number:07}"
    lead = data.draw(st.sampled_from(["0", "+256", "256", "00256", "+256 ", "0 "]))
    marks = data.draw(st.lists(st.sampled_from(["", " ", "-", "."]), min_size=9, max_size=9))
    written = lead + "".join(mark + digit for mark, digit in zip(marks, national, strict=True))
    try:
        first = to_e164(f"+256{national}")
    except InvalidPhone:
        # A number with an unassigned prefix is refused in every notation.
        with pytest.raises(InvalidPhone):
            to_e164(written)
    else:
        assert first == f"+256{national}"
        assert to_e164(written) == first


@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.none()))
def test_anything_gives_a_number_or_one_sentence(raw: object) -> None:
    try:
        number = to_e164(raw)
    except InvalidPhone as error:
        assert str(error).endswith(".")  # noqa: PT017
    else:
        assert number.startswith("+256")
        assert len(number) == 13
