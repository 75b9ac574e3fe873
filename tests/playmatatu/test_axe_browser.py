"""axe-core finds no violations on pages of players, operators and the sandbox, in light and dark."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page

from game.models import Entry, Session
from payments.models import Callback
from sms.models import SmsMessage
from tests.browsing import tab
from tests.conftest import Sandbox
from tests.game_helpers import ALICE, BOB, CAROL, DAVE, age, paid, paid_stake, stake
from tests.players import PHONE

pytestmark = pytest.mark.django_db(transaction=True)
# WCAG 2.2 AA. Best-practice rules are left out, because Django's own templates break two of them.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
OPERATOR = [
    "/admin/",
    f"/admin/find/?q={ALICE}",
    f"/admin/find/?q={CAROL}",
    "/admin/find/?q=nonsense",
    "/admin/sms/",
    "/admin/sms/smsmessage/",
    "/admin/sms/smsmessage/resend/?status=failed",
    "/admin/sms/smsmessage/test/",
    "/admin/sms/smspause/add/",
    "/admin/sms/smssuppression/",
    "/admin/payments/payment/",
    "/admin/payments/refund/",
    "/admin/payments/callback/",
    "/admin/payments/ledgerentry/",
    "/admin/payments/paymentevent/",
    "/admin/payments/matchresult/",
    "/admin/game/entry/",
    "/admin/game/session/",
]


@pytest.fixture
def evening(sandbox: Sandbox, settings: Any) -> dict[str, str]:
    """A match, a refund due, a failed payment, failed texts and an unreadable callback. Return the players' pages."""
    settings.MOMO_AUTO_APPROVE = False
    User.objects.create_superuser("grace", password="secret-of-grace")
    client = Client()
    paid_stake(client, BOB, 2000)
    paid_stake(client, CAROL, 2000)
    alone = paid_stake(client, ALICE, 5000, create_private=True, invite_phone=DAVE)
    open_code = paid_stake(client, DAVE, 7000, create_private=True).match_code
    age(pk=alone.pk)
    sandbox.faults(send="400")
    placed = stake(client, ALICE, 3000)
    paid(client, placed, ALICE, "FAILED")
    sandbox.faults(send="ok")
    SmsMessage.objects.filter(phone="+256772000003").update(status="undelivered", error="The network gave up.")
    Callback.objects.create(body="{", refusal="It is not JSON.", answered=400)
    own = Client()
    form = {"phone_number": "0772000005", "stake_amount": "9000", "opponent": "anyone"}
    waiting = own.post("/", form)["Location"]
    entry = Entry.objects.get(player__phone="+256772000005")
    return {
        "start": "/",
        "join": f"/join?match_code={open_code}",
        "gone": f"/join?match_code={alone.match_code}",
        "link": "/link",
        "match": f"/g/{Session.objects.get().token}",
        "waiting": f"{waiting}#{entry.pk}={own.cookies['stake'].value}",
        "missing": "/nowhere",
    }


def violations(page: Page) -> list[str]:
    options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": RULES}}
    page.wait_for_load_state()
    found = Axe().run(page, options=options).response["violations"]
    return [f"{each['id']}: {node['html'][:150]}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", PHONE["width"])])
def test_the_operators_pages(evening: Any, browser: Browser, live_server: Any, scheme: Any, width: int) -> None:
    page = tab(browser, {"width": width, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(15_000)
    page.goto(f"{live_server.url}/admin/")
    faults = {"login": violations(page)}
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password").fill("secret-of-grace")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Money today").wait_for()
    for path in OPERATOR:
        page.goto(live_server.url + path)
        faults[path] = violations(page)
    page.goto(f"{live_server.url}/admin/find/?q={ALICE}")
    page.get_by_role("button", name="Record a manual refund…").click()
    page.get_by_label("How was it refunded?").wait_for()
    faults["confirm"] = violations(page)
    broken = [f"{name}: {fault}" for name, found in faults.items() for fault in found]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_players_pages_and_the_phones(
    evening: dict[str, str], browser: Browser, live_server: Any, sandbox: Sandbox, scheme: Any
) -> None:
    page = tab(browser, PHONE, color_scheme=scheme)
    page.set_default_timeout(15_000)
    faults = {}
    for name, where in evening.items():
        path, _, cookie = where.partition("#")
        if cookie:
            value = cookie.partition("=")[2]
            page.context.add_cookies([{"name": "stake", "value": value, "domain": "localhost", "path": path}])
        page.goto(live_server.url + path)
        faults[name] = violations(page)
    page.goto(sandbox.url)
    faults["phones"] = violations(page)
    broken = [f"{name}: {fault}" for name, found in faults.items() for fault in found]
    assert not broken, "\n".join(broken)
