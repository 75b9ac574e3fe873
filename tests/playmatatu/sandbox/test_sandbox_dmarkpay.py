"""The sandbox's DMarkPay over HTTP: each known response and each fault."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests

from tests.conftest import wait_for
from tests.playmatatu.sandbox.shop import Receiver, Shop
from tests.sandbox import Sandbox


@pytest.mark.parametrize(("answer", "end"), [("pay", "Successful"), ("decline", "Failed")])
def test_a_phone_is_asked_and_answers(shop: Shop, sandbox: Sandbox, receiver: Receiver, answer: str, end: str) -> None:
    asked = shop.order()
    assert asked.status_code == 201
    said = asked.json()
    assert set(said) == {"status", "status_code", "transaction_id", "sp_transaction_id", "message"}
    assert (said["status"], said["sp_transaction_id"]) == ("Pending", "S-1")
    [prompt] = sandbox.prompts()
    assert prompt.pop("asked_at")
    assert prompt == {
        "sp_transaction_id": "S-1",
        "msisdn": "256772000001",
        "amount": "5000.00",
        "description": "PlayMatatu stake",
    }
    assert shop.word(said["transaction_id"]) == "Pending"
    assert receiver.heard == []
    tapped = requests.post(f"{sandbox.url}/prompts/S-1", json={"answer": answer}, timeout=5)
    assert tapped.json() == {"sp_transaction_id": "S-1", "status": end}
    assert sandbox.prompts() == []
    assert shop.word(said["transaction_id"]) == end
    wait_for(lambda: receiver.words() == [end])
    assert receiver.heard[0][2] == shop.status(said["transaction_id"]).json()


def test_a_tap_that_does_nothing(shop: Shop, sandbox: Sandbox) -> None:
    assert sandbox.tap("S-1", "pay") == 404
    shop.order()
    assert sandbox.tap("S-1", "perhaps") == 400
    assert requests.post(f"{sandbox.url}/prompts/S-1", data=b"[", timeout=5).status_code == 400
    assert sandbox.tap("S-1", "pay") == 200
    assert sandbox.tap("S-1", "decline") == 409


def test_a_phone_that_is_tapped_from_all_sides_ends_once(shop: Shop, sandbox: Sandbox, receiver: Receiver) -> None:
    shop.order()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: sandbox.tap("S-1", ("pay", "decline")[number % 2]), range(16)))
    assert sorted(answers) == [200] + [409] * 15
    wait_for(lambda: receiver.heard)
    assert len(receiver.heard) == 1
    # This holds even if both calls read the status before either writes.
    phones, [transaction] = sandbox.server.dmarkpay.phones, sandbox.server.state.money.named("S-1", "payin")
    assert phones.end(transaction, "Failed", "too late") is False
    assert transaction.status in ("Successful", "Failed")
    assert transaction.message != "too late"


@pytest.mark.parametrize(
    ("phones", "end"), [({"phones": "pay"}, "Successful"), ({"phones": "decline"}, "Failed"), ({"broke": True}, "")]
)
def test_phones_that_answer_by_themselves(shop: Shop, sandbox: Sandbox, phones: dict[str, Any], end: str) -> None:
    sandbox.faults(**phones)
    number = shop.order().json()["transaction_id"]
    if not end:
        sandbox.tap("S-1", "pay")
    wait_for(lambda: shop.word(number) == (end or "Failed"))
    assert "Insufficient funds" in shop.status(number).json()["message"] or end


def test_phones_that_never_answer(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.faults(phones="unreached")
    number = shop.order("away").json()["transaction_id"]
    sandbox.faults(phones="ask", phones_seconds=0.2)
    given_up = shop.order("given-up").json()["transaction_id"]
    assert [prompt["sp_transaction_id"] for prompt in sandbox.prompts()] == ["given-up"]
    wait_for(lambda: shop.word(given_up) == "Failed")
    assert shop.word(number) == "Pending"
    assert sandbox.tap("away", "pay") == 409


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        ("after", ["Successful"]),
        ("twice", ["Successful", "Successful"]),
        ("pending_first", ["Pending", "Successful"]),
        ("contradicts", ["Successful", "Failed"]),
        ("lies", ["Failed"]),
        ("reverses", ["Successful", "Failed"]),
        ("late", ["Successful"]),
    ],
)
def test_callbacks(shop: Shop, sandbox: Sandbox, receiver: Receiver, callback: str, words: list[str]) -> None:
    sandbox.faults(callback=callback, late_seconds=0.2)
    number = shop.order().json()["transaction_id"]
    if callback == "pending_first":
        wait_for(lambda: receiver.heard)
    sandbox.tap("S-1", "pay")
    wait_for(lambda: receiver.words() == words)
    assert shop.word(number) == ("Failed" if callback == "reverses" else "Successful")


def test_no_callback_and_garbage(shop: Shop, sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.faults(callback="never", phones="pay")
    number = shop.order("silent").json()["transaction_id"]
    wait_for(lambda: shop.word(number) == "Successful")
    sandbox.faults(callback="garbage", phones="pay")
    shop.order("garbage")
    wait_for(lambda: receiver.heard)
    assert [body for _, _, body in receiver.heard] == ["<html>502 Bad Gateway</html>"]


def test_a_callback_before_the_answer(shop: Shop, sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.faults(callback="before", phones="pay")
    assert shop.order().json()["status"] == "Successful"
    assert receiver.words() == ["Successful"]


@pytest.mark.parametrize(
    ("method", "verb", "kind"),
    [("json", "POST", "application/json"), ("put", "PUT", "application/json"), ("form", "POST", "application/x-www")],
)
def test_how_callbacks_are_sent(
    shop: Shop, sandbox: Sandbox, receiver: Receiver, method: str, verb: str, kind: str
) -> None:
    sandbox.faults(callback_method=method, phones="pay")
    shop.order()
    wait_for(lambda: receiver.heard)
    [(heard_verb, heard_kind, body)] = receiver.heard
    assert (heard_verb, body["sp_transaction_id"]) == (verb, "S-1")
    assert heard_kind.startswith(kind)


@pytest.mark.parametrize(("words", "word"), [("UPPER", "PENDING"), ("lower", "pending")])
def test_the_case_of_words(shop: Shop, sandbox: Sandbox, words: str, word: str) -> None:
    sandbox.faults(pay_words=words)
    assert shop.order().json()["status"] == word


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("pending", 201, "Pending"),
        ("successful", 201, "Successful"),
        ("failed", 201, "Failed"),
        ("refused", 400, "Failed"),
        ("odd_word", 201, "Queued"),
        ("no_id", 201, "Pending"),
    ],
)
def test_answers_to_a_payin(shop: Shop, sandbox: Sandbox, kind: str, status: int, word: str) -> None:
    sandbox.faults(payin_kind=kind)
    answer = shop.order()
    assert (answer.status_code, answer.json()["status"]) == (status, word)
    assert ("transaction_id" in answer.json()) is (kind != "no_id")
    assert bool(sandbox.prompts()) is (kind in ("pending", "odd_word", "no_id"))


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("successful", 201, "Successful"),
        ("failed", 201, "Failed"),
        ("pending", 201, "Pending"),
        ("refused", 400, "Failed"),
    ],
)
def test_answers_to_a_payout(shop: Shop, sandbox: Sandbox, kind: str, status: int, word: str) -> None:
    sandbox.faults(payout_kind=kind)
    answer = shop.order("R-1", "payout")
    assert (answer.status_code, answer.json()["status"]) == (status, word)
    if status == 201:
        assert shop.word(answer.json()["transaction_id"]) == word
    page = requests.get(sandbox.url, timeout=5).text
    assert ("You received 5,000 UGX" in page) is (kind == "successful")
    assert ("5,000 UGX not received" in page) is (kind == "failed")


@pytest.mark.parametrize(
    "change",
    [
        {"wallet": "purse"},
        {"payment_method": "cash"},
        {"msisdn": "0772000001"},
        {"amount": "much"},
        {"amount": "-5"},
        {"amount": "NaN"},
        {"sp_transaction_id": ""},
    ],
)
def test_an_order_that_is_refused(shop: Shop, sandbox: Sandbox, change: dict[str, str]) -> None:
    answer = shop.order(**change)
    assert (answer.status_code, answer.json()["status"]) == (400, "Failed")
    assert answer.json()["message"]
    assert sandbox.prompts() == []


@pytest.mark.parametrize("fault", ["taken_hang", "taken_reset", "taken_truncated", "taken_504", "taken_500"])
@pytest.mark.parametrize("kind", ["payin", "payout"])
def test_it_takes_an_order_and_loses_the_answer(shop: Shop, sandbox: Sandbox, kind: str, fault: str) -> None:
    sandbox.faults(**{kind: fault, f"{kind}_times": 1})
    with suppress(requests.RequestException):
        assert shop.order(kind=kind).status_code >= 500
    counts = sandbox.counts()["money"]
    assert counts["asked"][kind] == counts["taken"][kind] == {"S-1": 1}
    assert shop.order(kind=kind).status_code == 201
    assert sandbox.counts()["money"]["taken"][kind] == {"S-1": 2}


def test_it_loses_the_order_itself(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.faults(payin="reset")
    with pytest.raises(requests.ConnectionError):
        shop.order()
    counts = sandbox.counts()["money"]
    assert (counts["asked"]["payin"], counts["taken"]["payin"]) == ({"S-1": 1}, {})


@pytest.mark.parametrize(("again", "status", "asked"), [("twice", 201, 2), ("refused", 400, 1), ("same", 200, 1)])
def test_the_same_order_again(shop: Shop, sandbox: Sandbox, again: str, status: int, asked: int) -> None:
    sandbox.faults(payin_again=again)
    first = shop.order().json()["transaction_id"]
    second = shop.order()
    assert second.status_code == status
    assert len(sandbox.prompts()) == asked
    assert (second.json()["transaction_id"] == first) is (again == "same")


def test_tokens(shop: Shop, sandbox: Sandbox) -> None:
    token = f"{sandbox.url}/o/token/"
    assert requests.post(token, {"grant_type": "client_credentials"}, timeout=5).status_code == 401
    assert requests.post(token, {"grant_type": "password"}, auth=("u", "p"), timeout=5).status_code == 400
    assert requests.get(token, timeout=5).status_code == 404
    shop.session.headers["Authorization"] = "Bearer stale"
    assert shop.order().status_code == 403
    assert shop.status("x").status_code == 403
    shop.login()
    sandbox.faults(pay_token_uses=1)
    assert shop.order("A").status_code == 201
    assert shop.order("B").status_code == 403
    sandbox.faults(pay_token_uses=0, pay_token_life=0)
    answer = requests.post(token, {"grant_type": "client_credentials"}, auth=("u", "p"), timeout=5)
    shop.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    assert shop.order("C").status_code == 403
    # The user name and password are not stored.
    assert "wallet-key" not in json.dumps(sandbox.requests())


def test_what_became_of_it_is_not_known_at_first(shop: Shop, sandbox: Sandbox) -> None:
    assert shop.status("DP-unknown").status_code == 404
    sandbox.faults(pay_unknown_for=0.3)
    number = shop.order().json()["transaction_id"]
    assert shop.status(number).status_code == 404
    wait_for(lambda: shop.status(number).status_code == 200)
    assert sandbox.counts()["money"]["asked"]["status"]["S-1"] >= 2


def test_each_so_many_th_request_has_the_fault(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.faults(payin="503", payin_every=3)
    assert [shop.order(f"S-{number}").status_code for number in range(6)] == [201, 201, 503, 201, 201, 503]


def test_a_late_answer_is_a_right_one(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.faults(payin="late", answer_after=0.2)
    assert shop.order().json()["status"] == "Pending"
    sandbox.faults(payin="taken_late", answer_after=3)
    with pytest.raises(requests.Timeout):
        shop.order("S-2")
    assert sandbox.counts()["money"]["taken"]["payin"] == {"S-1": 1, "S-2": 1}


def test_a_reset_forgets_what_was_planned(shop: Shop, sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.faults(phones="pay", phones_after=0.2)
    shop.order()
    requests.post(f"{sandbox.url}/reset", timeout=5)
    sandbox.faults(phones="pay", phones_after=0.5, callback_after=0)
    shop.order("S-2")
    wait_for(lambda: receiver.heard)
    assert [body["sp_transaction_id"] for _, _, body in receiver.heard] == ["S-2"]


def test_texts_and_requests_of_one_phone_are_on_one_phone(shop: Shop, sandbox: Sandbox) -> None:
    sandbox.server.state.take("0772000001", "hello", "")
    shop.order()
    page = requests.get(sandbox.url, timeout=5).text
    assert page.count('class="phone asked"') == 1
    assert page.count("0772 000 001</h2>") == 1
    assert re.search(r"Pay <strong>5,000 UGX</strong>", page)
    # A browser without JavaScript sends this request for a tap.
    assert requests.post(f"{sandbox.url}/prompts/S-1", {"answer": "pay"}, timeout=5).status_code == 200
    page = requests.get(sandbox.url, timeout=5).text
    assert "You paid 5,000 UGX" in page
    assert page.index("<p>hello") < page.index("You paid")
