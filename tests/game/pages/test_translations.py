"""The translation catalogs are complete and consistent, and every SMS fits one segment in every language."""

import gettext
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, override_settings
from django.utils.translation import get_language, override

from game.models import Entry
from game.notifications import longest_values, render
from game.rules.limits import INVITE_REFUSALS
from game.wording import INVITE_STATUS, PHONE_SENTENCES
from sms.models import SmsMessage
from sms.text.phone import to_e164
from sms.text.segments import segments
from tests.conftest import Sandbox, missing
from tests.game_helpers import ALICE, BOB, CAROL, paid, stake

ROOT = Path(__file__).parents[3]
TRANSLATED = [code for code, _name in settings.LANGUAGES if code != "en"]
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")

with override_settings(FRONTEND_URL="https://play.example.com", SITE_URL="https://play.example.com"):
    LONGEST = longest_values()


def catalogue(language: str) -> dict[Any, str]:
    path = ROOT / "locale" / language / "LC_MESSAGES" / "django.mo"
    with path.open("rb") as file:
        return dict(gettext.GNUTranslations(file)._catalog)  # type: ignore[attr-defined]


def test_every_text_has_an_expectation() -> None:
    folder = ROOT / "game" / "templates" / "game" / "sms"
    assert {path.stem for path in folder.glob("*.txt")} == {kind for kind, _values in LONGEST}


@pytest.mark.parametrize("language", ["en", *TRANSLATED])
@pytest.mark.parametrize(("kind", "values"), LONGEST)
def test_a_text_costs_one_sms(kind: str, values: dict[str, str], language: str) -> None:
    text = render(kind, language, **values)
    cost = segments(text)
    # One letter outside GSM-7 (such as ŋ or a curly quote) would leave only 70 characters instead of 160.
    assert (cost.encoding, cost.count) == ("GSM-7", 1), f"{cost.length}: {text}"
    assert all(value in text for name, value in values.items() if name != "played")
    assert text == text.strip()
    assert language == "en" or text != render(kind, "en", **values)


@pytest.mark.parametrize("language", TRANSLATED)
def test_placeholders_agree(language: str) -> None:
    entries = {key: text for key, text in catalogue(language).items() if key}
    assert len(entries) > 90
    for key, text in entries.items():
        msgid = key[0] if isinstance(key, tuple) else key
        assert set(PLACEHOLDER.findall(msgid)) == set(PLACEHOLDER.findall(text)), msgid
        assert text.count("%") == len(PLACEHOLDER.findall(text)), text
        assert msgid.endswith(("...", "?", ":", ".")) == text.endswith(("...", "?", ":", ".")) or "%(" in msgid, msgid


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_in_the_code_is_missing_in_the_catalogue(language: str, tmp_path: Path) -> None:
    if shutil.which("xgettext") is None:
        missing("gettext")
    for name in ("game", "playmatatu", "locale"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "django", "makemessages", "-l", language, "--no-obsolete"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
        check=True,
        capture_output=True,
    )
    po = tmp_path / "locale" / language / "LC_MESSAGES" / "django.po"
    for flag in ("--untranslated", "--only-fuzzy"):
        found = subprocess.run(["msgattrib", flag, "--no-obsolete", po], check=True, capture_output=True, text=True)
        assert found.stdout == "", f"run `make messages` and translate:\n{found.stdout}"
    # The compiled catalog matches its source.
    subprocess.run(["msgfmt", "--check-format", "-o", tmp_path / "django.mo", po], check=True)
    with (tmp_path / "django.mo").open("rb") as file:
        fresh = dict(gettext.GNUTranslations(file)._catalog)  # type: ignore[attr-defined]
    compiled = catalogue(language)
    assert {key: text for key, text in fresh.items() if key} == {key: text for key, text in compiled.items() if key}


@pytest.mark.parametrize("language", TRANSLATED)
def test_sentences_that_no_template_holds(language: str) -> None:
    """These sentences reach `gettext` as values, so makemessages does not find them."""
    known = catalogue(language)
    said = list(INVITE_REFUSALS.values())
    for number in ("", "abc", "0772123456" * 9, "123", "+999123456", "+14155550100", "0312345678"):
        with pytest.raises(ValueError) as caught:
            to_e164(number)
        said.append(str(caught.value))
    assert set(PHONE_SENTENCES) <= set(said)
    assert [sentence for sentence in said if sentence not in known] == []
    assert {status for status, _name in SmsMessage._meta.get_field("status").flatchoices} == set(INVITE_STATUS)


def test_a_speaker_should_check_them() -> None:
    for language in TRANSLATED:
        head = (ROOT / "locale" / language / "LC_MESSAGES" / "django.po").read_text()[:500]
        assert "native speaker should check" in head
    assert "No native speaker has checked" in (ROOT / "docs" / "pages.md").read_text()


# --- the language of pages, texts and the API


def choose(client: Client, language: str) -> Any:
    return client.post("/language", {"language": language, "next": "/join?match_code=ABC234"})


@pytest.mark.django_db
def test_the_language_is_switched_without_a_script(client: Client) -> None:
    assert '<html lang="en">' in client.get("/").content.decode()
    answer = choose(client, "sw")
    assert answer["Location"] == "/join?match_code=ABC234"
    assert (answer.cookies["django_language"]["httponly"], answer.cookies["django_language"]["samesite"]) == (
        True,
        "Lax",
    )
    page = client.get("/").content.decode()
    assert '<html lang="sw">' in page
    assert "Nambari yako ya simu" in page
    assert "Your mobile number" not in page
    wrong = client.post("/", {"phone_number": "123", "stake_amount": "1", "opponent": "code", "match_code": "?"})
    page = wrong.content.decode()
    for words in ("Hiyo si nambari ya simu", "kati ya 1,000 na 5,000,000 UGX", "Msimbo wa mechi una herufi"):
        assert words in page
    unknown = client.get("/join", {"match_code": "ABC234"}).content.decode()
    assert "Hakuna mechi yenye msimbo huu" in unknown


@pytest.mark.django_db
def test_the_switch_leads_to_no_other_site_and_asks_for_csrf(client: Client) -> None:
    away = client.post("/language", {"language": "lg", "next": "https://evil.example.com/"})
    assert away["Location"] == "/"
    assert Client(enforce_csrf_checks=True).post("/language", {"language": "lg"}).status_code == 403


@pytest.mark.django_db
def test_the_api_does_not_use_the_language_of_the_last_page(client: Client) -> None:
    client.get("/", headers={"Accept-Language": "lg"})
    assert get_language() == "lg"
    client.get("/api/v1/config", headers={"Accept-Language": "lg"})
    assert get_language() == "en"


@pytest.mark.django_db
def test_the_api_stays_english(client: Client) -> None:
    choose(client, "sw")
    answer = client.post("/api/v1/game/stake", "{}", content_type="application/json", headers={"Accept-Language": "lg"})
    assert "required" in answer.json()["error"].lower() or "missing" in answer.json()["error"].lower()
    stake(client, ALICE, create_private=True)
    again = client.post(
        "/api/v1/game/stake",
        f'{{"phone_number": "{ALICE}", "stake_amount": 1000}}',
        content_type="application/json",
    )
    assert again.json()["error"].startswith("You already have an open stake")


@pytest.mark.django_db(transaction=True)
def test_a_player_is_texted_in_the_language_of_their_page(client: Client, settings: Any, sandbox: Sandbox) -> None:
    settings.MOMO_AUTO_APPROVE = False
    choose(client, "sw")
    client.post("/", {"phone_number": ALICE, "stake_amount": "2000", "opponent": "friend", "invite_phone": BOB})
    entry = Entry.objects.get()
    paid(client, {"transaction_id": entry.payment.transaction_id, "stake_amount": 2000}, ALICE)
    friend = stake(Client(), BOB, 2000, match_code=Entry.objects.get().match_code)
    with override("lg"):  # The language of the callback request does not matter.
        paid(Client(), friend, BOB)
    texts = {(item["to"], item["text"].split(":")[0]) for item in sandbox.inbox()}
    assert texts == {
        (BOB, "Join my PlayMatatu private match! Code"),
        (ALICE, "UGX 2000 zimepokelewa. Shiriki msimbo wako"),
        (BOB, "Payment of 2000 UGX received. Opponent found! Play here"),
        (ALICE, "Mpinzani amepatikana! Cheza hapa"),
    }
    failed = stake(Client(), CAROL, 1000)
    paid(Client(), failed, CAROL, "FAILED")
    assert sandbox.inbox()[0]["text"].startswith("Payment of 1000 UGX failed.")


@pytest.mark.django_db(transaction=True)
def test_the_site_s_language_is_the_default_of_texts(settings: Any, sandbox: Sandbox) -> None:
    settings.LANGUAGE_CODE = "lg"
    with override("sw"):
        stake(Client(), ALICE, create_private=True, invite_phone=BOB)
    assert sandbox.inbox()[0]["text"].startswith("Jjangu tuzannye PlayMatatu! Koodi: ")
