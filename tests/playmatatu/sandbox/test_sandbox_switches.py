"""The switches for payments: each has a button or a control, a label, and an entry in the document."""

from typing import Any

import pytest

from playmatatu.sandbox.money.faults import PANEL, Faults
from sms.sandbox.switches import TEXTS
from tests.sandbox import Sandbox, assert_documented, assert_on_and_off

SWITCHES = [switch for title, group in PANEL.groups.items() if title not in TEXTS.groups for switch in group]


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.label)
def test_each_switch_goes_on_and_off_by_its_button(sandbox: Sandbox, switch: Any) -> None:
    assert_on_and_off(sandbox, switch, Faults)


def test_labels_of_buttons_differ() -> None:
    labels = [switch.label for group in PANEL.groups.values() for switch in group]
    assert len(set(labels)) == len(labels)


def test_every_switch_has_a_label_and_a_place_in_the_document() -> None:
    assert all(map(Faults.label, Faults.names()))
    assert_documented(Faults)
