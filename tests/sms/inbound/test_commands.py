"""STOP, START and HELP as people write them in three languages."""

import pytest

from sms.inbound import read_command


@pytest.mark.parametrize(
    "text",
    [
        "STOP", "stop", " Stop. ", "STOP!", "Stop PlayMatatu", "stop texting me", "STOPALL", "Stop all", "unsubscribe",
        "Please stop", "Cancel", "END", "Quit", "opt-out",
        "Acha", "ACHA!", "Tafadhali acha", "Sitisha", "sitisha huduma", "Simama", "Usinitumie",
        "Lekera awo", "LEKERAAWO", "Komya", "Koma", "Sazaamu",
        "\ufeffSTOP", "Ｓｔｏｐ", "st\u00f3p",
    ],
)  # fmt: skip
def test_stop(text: str) -> None:
    assert read_command(text) == "stop"


@pytest.mark.parametrize(
    "text", ["START", "start.", "Unstop", "resume", "opt in", "Anza", "ENDELEA", "Tandika", "ddamu"]
)
def test_start(text: str) -> None:
    assert read_command(text) == "start"


@pytest.mark.parametrize("text", ["HELP", "help?", "Info", "help me", "Msaada", "nisaidie", "Obuyambi", "Nnyamba"])
def test_help(text: str) -> None:
    assert read_command(text) == "help"


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", "?", "ABC234", "Who is this?", "Acha nikwambie kitu", "the end", "end of match", "Hello",
        "I never asked you to stop anything", "Stop it or I will call the police today", "started", "stoppage",
        "help yourself to it", "x" * 5000,
    ],
)  # fmt: skip
def test_anything_else(text: str) -> None:
    assert read_command(text) == ""
