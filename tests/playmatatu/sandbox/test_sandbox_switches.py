"""The switches of the money: each has a button or a control, a label and a place in the document."""

from typing import Any

import pytest
import requests

from playmatatu.sandbox.money.faults import PANEL, Faults
from sms.sandbox.switches import TEXTS
from tests.sandbox import Sandbox, assert_documented, page, press, switches

SWITCHES = [switch for title, group in PANEL.groups.items() if title not in TEXTS.groups for switch in group]


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.label)
def test_each_switch_goes_on_and_off_by_its_button(sandbox: Sandbox, switch: Any) -> None:
    requests.post(f"{sandbox.url}/well", timeout=5)
    if any(Faults.default(name) != value for name, value in switch.on.items()):
        assert "No faults." in page(sandbox)
        press(sandbox, switch.label)
        assert "Faults on: " in page(sandbox)
    assert {name: switches(sandbox)[name] for name in switch.on} == switch.on
    assert f'aria-pressed="true">{switch.label}<' in page(sandbox)
    press(sandbox, switch.label)
    assert switches(sandbox) == vars(Faults())


def test_labels_of_buttons_differ() -> None:
    labels = [switch.label for group in PANEL.groups.values() for switch in group]
    assert len(set(labels)) == len(labels)


def test_every_switch_has_a_label_and_a_place_in_the_document() -> None:
    assert set(PANEL.labels) == set(Faults.names())
    assert_documented(Faults)
