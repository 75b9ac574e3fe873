"""Values that players type or paste: match codes, amounts and display names, in the form, in links and in the API."""

import contextlib
import unicodedata

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from game.models import Entry
from game.rules.codes import ALPHABET, new_code, read_code
from game.rules.validation import read_amount, read_name
from tests.game_helpers import ALICE, BOB, stake

CODES = [
    "ABC234",
    " abc234 ",
    "ABC 234",
    "ABC-234",
    "abc–234",
    "ABC\N{NO-BREAK SPACE}234",
    "ABC\N{NARROW NO-BREAK SPACE}234",
    "A B C 2 3 4",
    "A.B.C.2.3.4",
    "♠ABC♥234",
    '"ABC234"',
    "(ABC234).",
    "#ABC234",
    "AB\N{ZERO WIDTH SPACE}C234\N{WORD JOINER}",
    "\N{LEFT-TO-RIGHT MARK}ABC234",
    "ABC\N{SOFT HYPHEN}234",
    "\uff21\uff22\uff23\uff12\uff13\uff14",
    "Code: ABC234",
    "code ABC 234",
    "my code is abc-234, hurry up",
    "the code for the match tonight is ABC234",
    "Koodi: ABC234",
    "Msimbo: abc 234",
    "please join with ABC234 now",
    "http://127.0.0.1:8000/?match_code=ABC234",
    "https://play.example.com/join?match_code=abc234",
    "https://play.example.com/join?match_code=ABC%20234",
    "https://play.example.com/join?match_code=ABC234&utm_source=x#top",
    "https://play.example.com/?match_code=ABC 234",
    "https://l.example.com/?u=https%3A%2F%2Fplay.example.com%2F%3Fmatch_code%3DABC234",
    "Join my PlayMatatu private match! Code: ABC234. Stake: 5000 UGX. Play: https://play.example.com/?match_code=ABC234",
    "Payment of 5000 UGX received. Share your code: ABC234",
]


@pytest.mark.parametrize("text", CODES)
def test_a_code_is_read_however_it_is_typed_or_pasted(text: str) -> None:
    assert read_code(text) == "ABC234"


@pytest.mark.parametrize(
    "text",
    ["", " ", "ABC23", "ABC2345", "ABC 23", "ABC10O", "ÀBC234", "АВС234", "join my game", "the code is missing", "https://play.example.com/?match_code=ABC23&x=234",
     "ABC234 or DEF567", "https://play.example.com/?match_code=", "https://play.example.com/?match_code=ABC23"],
)  # fmt: skip
def test_a_text_without_one_code_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="like ABC234"):
        read_code(text)


@given(st.text(ALPHABET, min_size=6, max_size=6), st.sampled_from([" ", "-", ".", "\N{NO-BREAK SPACE}", "_", "♣"]))
def test_every_code_is_read_with_any_separator(code: str, separator: str) -> None:
    assert read_code(separator.join(code.lower())) == code


@given(st.text())
def test_a_text_is_a_code_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert set(read_code(text)) <= set(ALPHABET)


def test_new_codes_are_read_as_they_are() -> None:
    code = new_code()
    assert read_code(code) == code


@pytest.mark.django_db
def test_form_link_and_api_read_a_code_alike(client: Client) -> None:
    code = stake(client, ALICE, create_private=True)["match_code"]
    typed = f"{code[:3].lower()} - {code[3:]}"
    page = client.get("/", {"match_code": typed})
    assert page.context["form"].joining == Entry.objects.get()
    posted = {"phone_number": BOB, "stake_amount": "1000", "opponent": "code", "match_code": f"my code is {typed}"}
    client.post("/", posted)
    assert Entry.objects.latest("pk").status == "matched"
    other = stake(client, ALICE, create_private=True)["match_code"]
    assert stake(client, BOB, match_code=f"http://127.0.0.1/?match_code={other}")["status"] == "matched"


AMOUNTS = {
    "5000": 5000,
    "5,000": 5000,
    "5 000": 5000,
    "1,250,000": 1250000,
    "1 250 000": 1250000,
    " 5000 ": 5000,
    "5\N{NO-BREAK SPACE}000": 5000,
    "5\N{NARROW NO-BREAK SPACE}000": 5000,
    "5\N{THIN SPACE}000": 5000,
    "5,000/=": 5000,
    "5000/-": 5000,
    "5000 /=": 5000,
    "UGX 5000": 5000,
    "UGX5,000": 5000,
    "ugx. 5000": 5000,
    "5000 UGX": 5000,
    "5000UGX": 5000,
    "Shs 5,000/=": 5000,
    "Ush5000": 5000,
    "\uff15\uff10\uff10\uff10": 5000,
    "\N{LEFT-TO-RIGHT MARK}5000": 5000,
}
NO_AMOUNTS = [
    "", "10,00", "1,0000", "1,00,000", "10 00", "5,000.00", "5.000", "5000.0", "5k", "1e4", "-5000", "+5000", "5000,",
    ",500", "5,000 000", "UGX", "5000 KES", "$5000", "5000 6000", "5000=", "²", "\N{ARABIC-INDIC DIGIT FIVE}000",
    "1" * 13, "five thousand",
]  # fmt: skip


@pytest.mark.parametrize(("text", "amount"), AMOUNTS.items())
def test_an_amount_is_read_in_the_forms_that_people_write(text: str, amount: int) -> None:
    assert read_amount(text) == amount


@pytest.mark.parametrize("text", NO_AMOUNTS)
def test_any_other_amount_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole UGX, like 5000 or 5,000\.$"):
        read_amount(text)


@pytest.mark.django_db
def test_the_form_stakes_only_what_it_reads(client: Client) -> None:
    posted = {"phone_number": ALICE, "opponent": "anyone"}
    refused = client.post("/", {**posted, "stake_amount": "10,00"})
    assert refused.status_code == 400
    assert "like 5000 or 5,000" in refused.content.decode()
    assert not Entry.objects.exists()
    client.post("/", {**posted, "stake_amount": "UGX 5,000/="})
    assert Entry.objects.get().stake_amount == 5000


NAMES = {
    "Alice": "Alice",
    "  Alice   Nakato ": "Alice Nakato",
    "Namıl Ñoño": "Namıl Ñoño",
    "Алиса": "Алиса",
    "👩\N{ZERO WIDTH JOINER}👧 Family": "👩\N{ZERO WIDTH JOINER}👧 Family",
    "\N{RIGHT-TO-LEFT OVERRIDE}ecilA": "ecilA",
    "Ali\N{LEFT-TO-RIGHT ISOLATE}ce\N{POP DIRECTIONAL ISOLATE}": "Alice",
    "A\N{ZERO WIDTH SPACE}lice\N{ZERO WIDTH NO-BREAK SPACE}": "Alice",
    "A\N{ZERO WIDTH JOINER}lice": "Alice",
    "Alice\N{LINE SEPARATOR}Bob": "Alice Bob",
    "Alice\N{NO-BREAK SPACE}Bob": "Alice Bob",
    "\N{HANGUL FILLER}\N{BRAILLE PATTERN BLANK}": "",
    "Al\ue000ice": "Alice",
    "\U000e0041\U000e0042Alice": "Alice",
    "e\u0301" + "\u0301" * 20: "é\u0301\u0301",
}


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_a_name_loses_the_characters_that_mislead(text: str, name: str) -> None:
    assert read_name(text) == name


@given(st.text(max_size=50))
def test_a_name_holds_no_invisible_character_and_is_stable(text: str) -> None:
    try:
        name = read_name(text)
    except ValueError:
        return
    assert all(unicodedata.category(char)[0] != "C" or char == "\N{ZERO WIDTH JOINER}" for char in name)
    assert read_name(name) == name


@pytest.mark.django_db
def test_the_opponent_sees_the_name_without_them(client: Client) -> None:
    stake(client, ALICE, display_name="\N{RIGHT-TO-LEFT OVERRIDE}Alice")
    assert stake(client, BOB)["opponent_display_name"] == "Alice"
