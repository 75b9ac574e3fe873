"""Any notation of a Ugandan mobile number, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.errors import InvalidPhone, SmsError
from sms.text.phone import to_e164, to_local


@pytest.mark.parametrize(
    "raw",
    [
        "0772123456",
        "+256772123456",
        "256772123456",
        "00256772123456",
        "772123456",
        " 0772 123 456 ",
        "+256 (0) 772-123-456".replace("(0) ", ""),
        "0772-123-456",
        "0772.123.456",
        "(0772) 123456",
        "+256-772-123456",
        "\u202a+256772123456\u202c",
        "0772\u2011123\u2011456",
        "٠٧٧٢١٢٣٤٥٦",
        256772123456,
    ],
)
def test_notations(raw: object) -> None:
    assert to_e164(raw) == "+256772123456"


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "   ",
        None,
        True,
        1.5,
        [],
        "abc",
        "0772CALLME",
        "0772123456;ext=5",
        "0772123456 ext 5",
        "0772123456x5",
        "077212345",
        "07721234567",
        "+254712345678",
        "+15005550006",
        "0312345678",
        "0392345678",
        "0414123456",
        "0772123456,0772123457",
        "0772123456\x00",
        "+",
        "0" * 5000,
        "\ud800",
        b"0772123456",
    ],
)
def test_refusals_say_what_to_mend(raw: object) -> None:
    with pytest.raises(InvalidPhone, match=r"^The phone number .*\.$|^That is not .*\.$") as caught:
        to_e164(raw)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, SmsError)


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
        # A prefix that is not given out: then it is refused in every notation.
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
