"""Interpretation of DMarkPay's responses from their raw bodies."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.providers import Said
from payments.providers.dmarkpay.responses import Token, read_collect, read_payout, read_status, read_token

OURS = "sp-1"


def body(**changes: Any) -> bytes:
    said = {
        "status": "Pending",
        "status_code": "0",
        "transaction_id": "DP1",
        "sp_transaction_id": OURS,
        "message": "Transaction pending",
    }
    return json.dumps({key: value for key, value in {**said, **changes}.items() if value is not ...}).encode()


HTML = b"<html><body>502 Bad Gateway</body></html>"


COLLECTED = [
    # Only the status word counts, in any case. The field status_code and an HTTP status below 400 do not.
    (200, body(), Said.PENDING, "DP1", "Transaction pending"),
    (201, body(), Said.PENDING, "DP1", "Transaction pending"),
    (302, body(), Said.PENDING, "DP1", "Transaction pending"),
    (200, body(status="PENDING", status_code="1"), Said.PENDING, "DP1", "Transaction pending"),
    (200, body(status="successful", status_code="500"), Said.SUCCESS, "DP1", "Transaction pending"),
    (201, body(status="Failed", message="Insufficient funds"), Said.FAILED, "DP1", "Insufficient funds"),
    (200, body(transaction_id=...), Said.PENDING, "", "Transaction pending"),
    (200, body(transaction_id=913), Said.PENDING, "913", "Transaction pending"),
    (200, body(transaction_id=913.0), Said.PENDING, "913", "Transaction pending"),
    (200, body(transaction_id=None), Said.PENDING, "", "Transaction pending"),
    (200, body(transaction_id=True), Said.PENDING, "", "Transaction pending"),
    (200, body(transaction_id="x" * 101), Said.PENDING, "", "Transaction pending"),
    (200, body(sp_transaction_id=...), Said.PENDING, "DP1", "Transaction pending"),
    (200, body(message=...), Said.PENDING, "DP1", ""),
    (200, body(message={"a": 1}), Said.PENDING, "DP1", ""),
    (200, body(message="a\x00b\ud800"), Said.PENDING, "DP1", "a\ufffdb\ufffd"),
    # If the request may have been accepted, the response is ambiguous.
    (200, body(status="Queued"), Said.IN_DOUBT, "DP1", "Transaction pending"),
    (200, body(status=1), Said.IN_DOUBT, "DP1", "Transaction pending"),
    (200, body(status=...), Said.IN_DOUBT, "DP1", "Transaction pending"),
    (200, HTML, Said.IN_DOUBT, "", "Something other than DMarkPay answered (200)"),
    (200, b"", Said.IN_DOUBT, "", "Something other than DMarkPay answered (200)"),
    (200, b"[]", Said.IN_DOUBT, "", "Something other than DMarkPay answered (200)"),
    (200, b"\xff\x00", Said.IN_DOUBT, "", "Something other than DMarkPay answered (200)"),
    (200, b"[" * 100_000, Said.IN_DOUBT, "", "Something other than DMarkPay answered (200)"),
    (200, body(sp_transaction_id="other"), Said.IN_DOUBT, "", "The response was about another transaction."),
    (301, HTML, Said.IN_DOUBT, "", "Something other than DMarkPay answered (301)"),
    (408, HTML, Said.IN_DOUBT, "", "Something other than DMarkPay answered (408)"),
    (409, body(message="Duplicate sp_transaction_id"), Said.IN_DOUBT, "DP1", "Duplicate sp_transaction_id"),
    (500, HTML, Said.IN_DOUBT, "", "DMarkPay has a problem (500)"),
    (502, body(status="Failed", message="upstream"), Said.IN_DOUBT, "DP1", "upstream"),
    (503, body(status="Successful", message=""), Said.IN_DOUBT, "DP1", "DMarkPay has a problem (503)"),
    (504, b"", Said.IN_DOUBT, "", "DMarkPay has a problem (504)"),
    # A 4xx is a failure with a reason.
    (400, body(status="Failed", message="Invalid msisdn"), Said.FAILED, "DP1", "Invalid msisdn"),
    (400, body(status="Pending", message="Invalid msisdn"), Said.FAILED, "DP1", "Invalid msisdn"),
    (402, body(status=..., message="No credit"), Said.FAILED, "DP1", "No credit"),
    (404, HTML, Said.FAILED, "", "Something other than DMarkPay answered (404)"),
    (422, body(sp_transaction_id="other"), Said.IN_DOUBT, "", "The response was about another transaction."),
    # These statuses concern a request that was refused before processing.
    (401, b"{}", Said.NOT_TAKEN, "", "DMarkPay refused the request (401)"),
    (403, b'{"detail": "no"}', Said.NOT_TAKEN, "", "DMarkPay refused the request (403)"),
    (403, HTML, Said.NOT_TAKEN, "", "DMarkPay refused the request (403)"),
    (403, b"", Said.NOT_TAKEN, "", "DMarkPay refused the request (403)"),
    (429, HTML, Said.NOT_TAKEN, "", "DMarkPay refused the request (429)"),
]


@pytest.mark.parametrize(("status", "raw", "said", "provider_id", "words"), COLLECTED)
def test_the_answer_to_a_payin(status: int, raw: bytes, said: Said, provider_id: str, words: str) -> None:
    answer = read_collect(status, raw, OURS)
    assert (answer.said, answer.provider_id, answer.words) == (said, provider_id, words)
    assert answer.http_status == status
    assert len(answer.text) <= 500


@pytest.mark.parametrize(
    ("status", "raw", "said"),
    [
        (200, body(status="Successful"), Said.SUCCESS),
        (200, body(status="Failed"), Said.FAILED),
        (200, body(status="Pending"), Said.IN_DOUBT),
        (201, body(status="PROCESSING"), Said.IN_DOUBT),
        (400, body(status="Failed"), Said.FAILED),
        (403, b"", Said.NOT_TAKEN),
        (500, body(status="Successful"), Said.IN_DOUBT),
        (200, HTML, Said.IN_DOUBT),
    ],
)
def test_the_answer_to_a_payout(status: int, raw: bytes, said: Said) -> None:
    assert read_payout(status, raw, OURS).said is said


@pytest.mark.parametrize(
    ("status", "raw", "said", "ours"),
    [
        (200, body(status="Successful"), Said.SUCCESS, OURS),
        (200, body(status="FAILED"), Said.FAILED, OURS),
        (200, body(), Said.PENDING, OURS),
        (200, body(sp_transaction_id="other", status="Successful"), Said.SUCCESS, "other"),
        (200, body(sp_transaction_id=..., status="Successful"), Said.SUCCESS, ""),
        (404, b'{"detail": "Not found."}', Said.UNKNOWN, ""),
        (404, body(status="Failed"), Said.UNKNOWN, OURS),
        # An unknown status word about this transaction is reported as such.
        (200, body(status="Reversed"), Said.OTHER, OURS),
        (200, body(status="reversed", transaction_id=..., sp_transaction_id=OURS), Said.OTHER, OURS),
        (200, body(status="Reversed", transaction_id=..., sp_transaction_id=...), Said.IN_DOUBT, ""),
        (200, body(status="  "), Said.IN_DOUBT, OURS),
        (500, body(status="Reversed"), Said.IN_DOUBT, OURS),
        # A response that proves nothing changes nothing, whatever its status word is.
        (500, body(status="Successful"), Said.IN_DOUBT, OURS),
        (403, body(status="Failed"), Said.IN_DOUBT, OURS),
        (400, body(status="Failed"), Said.IN_DOUBT, OURS),
        (302, body(status="Successful"), Said.IN_DOUBT, OURS),
        (200, HTML, Said.IN_DOUBT, ""),
        (200, b"", Said.IN_DOUBT, ""),
    ],
)
def test_what_became_of_it(status: int, raw: bytes, said: Said, ours: str) -> None:
    answer = read_status(status, raw)
    assert (answer.said, answer.ours) == (said, ours)


@pytest.mark.parametrize(
    ("status", "raw", "expected"),
    [
        (200, b'{"access_token": "t", "expires_in": 36000}', Token("t", 32400)),
        (200, b'{"access_token": "t", "expires_in": "36000"}', Token("t", 32400)),
        (200, b'{"access_token": "t", "expires_in": 1}', Token("t", 0)),
        (200, b'{"access_token": "t", "expires_in": 1e400}', Token("t", 0)),
        (200, b'{"access_token": "t", "expires_in": -5}', Token("t", 0)),
        (200, b'{"access_token": "t", "expires_in": NaN}', Token("t", 0)),
        (200, b'{"access_token": "t", "expires_in": 1' + b"0" * 400 + b"}", Token("t", 0)),
        (200, b'{"access_token": "t", "expires_in": true}', Token("t", 0)),
        (200, b'{"access_token": "t"}', Token("t", 0)),
        (200, b'{"access_token": "t", "expires_in": 99999999999}', Token("t", 30 * 86400)),
        (200, b'{"access_token": "a\\nb"}', "DMarkPay's response has no token (200)."),
        (200, b'{"access_token": 5}', "DMarkPay's response has no token (200)."),
        (200, HTML, "DMarkPay's response has no token (200)."),
        (302, b'{"access_token": "t"}', "DMarkPay's response has no token (302)."),
        (500, b'{"access_token": "t"}', "DMarkPay's response has no token (500)."),
        (401, b'{"error": "invalid_client"}', "DMarkPay refuses the credentials (401)"),
    ],
)
def test_the_token(status: int, raw: bytes, expected: Token | str) -> None:
    found = read_token(status, raw)
    assert str(found).startswith(expected) if isinstance(expected, str) else found == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


NAMES = st.sampled_from(
    ["status", "transaction_id", "sp_transaction_id", "message", "status_code", "access_token", "expires_in"]
)


BODIES = st.binary(max_size=200) | st.dictionaries(NAMES, JSON, max_size=7).map(lambda data: json.dumps(data).encode())


@given(st.integers(100, 599), BODIES)
def test_no_answer_is_too_odd(status: int, raw: bytes) -> None:
    """Any response can be interpreted. Only a status word with an HTTP status below 400 counts as money."""
    for answer in (read_collect(status, raw, OURS), read_payout(status, raw, OURS), read_status(status, raw)):
        assert len(answer.words) <= 200
        assert len(answer.provider_id) <= 100
        assert "\0" not in answer.text + answer.words + answer.provider_id
        (answer.text + answer.words + answer.provider_id).encode()
        if answer.said is Said.SUCCESS:
            assert status < 400
            word = json.loads(raw)["status"]
            assert word.strip(" ").upper() in ("SUCCESS", "SUCCESSFUL", "COMPLETED")
    found = read_token(status, raw)
    assert isinstance(found, str) or (found.value.isascii() and 0 <= found.seconds <= 30 * 86400)
