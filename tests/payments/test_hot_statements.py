"""Statements that are compiled once return the same as the ORM, for any arguments, on SQLite and PostgreSQL."""

import importlib
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.db.transaction import TransactionManagementError
from django.test import Client
from django.test.utils import CaptureQueriesContext

from game.models import Entry, Player, RefusedStake, Session
from game.rules import matching
from payments import statements
from payments.models import Callback, LedgerEntry, Payment, PaymentEvent
from payments.statements import Select, Update, insert, new, update
from sms import clock
from tests.game_helpers import ALICE, BOB, CAROL, paid_stake, stake

pytestmark = pytest.mark.django_db(transaction=True)

MODULES = (
    *(
        "game.api.replies",
        "game.models",
        "game.rules.codes",
        "game.rules.limits",
        "game.rules.locks",
        "game.rules.matching",
        "game.rules.placing",
        "game.tokens",
        "game.etag",
    ),
    *("payments.journal", "payments.webhooks"),
)


def _selects() -> dict[str, Select[Any]]:
    return {
        f"{module}.{name}": value
        for module in MODULES
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, Select)
    }


def _waiting(entry: Entry) -> dict[str, Any]:
    return {"amount": entry.stake_amount, "player": 0, "now": clock.now()}


INVITED = "+256772000099"


def _invites(entry: Entry) -> dict[str, Any]:
    since = clock.now() - timedelta(hours=1)
    own = {"own": entry.pk, "player": entry.player_id, "phone": INVITED}
    return {"address": ip_address(entry.client_address or ""), "today": since, "this_hour": since, **own}


def _pending(entry: Entry) -> dict[str, Any]:
    Payment.objects.filter(pk=entry.payment_id).update(status=Payment.Status.PENDING, place="")
    return {"transaction": entry.payment.transaction_id}


# Arguments that find the rows of an entry.
ARGUMENTS: dict[str, Callable[[Entry], dict[str, Any]]] = {
    "game.api.replies._INVITE": lambda entry: {"key": f"payment:{entry.payment_id}:success"},
    "game.models._OF_SESSION": lambda entry: {"session": entry.session_id},
    "game.rules.codes._OF_CODE": lambda entry: {"code": entry.match_code or "ABC234"},
    "game.rules.limits._FROM_ADDRESS": lambda entry: {
        "address": ip_address(entry.client_address or ""),
        "since": clock.now() - timedelta(hours=1),
        "newer": entry.stake_amount // 1000 - 3,
    },
    "game.rules.limits._FROM_SITE": lambda entry: {
        "site": ip_address("2001:db8:1::"),
        "since": clock.now() - timedelta(hours=1),
        "newer": entry.stake_amount // 1000 - 3,
    },
    "game.rules.limits._INVITES_FROM_IPV4": _invites,
    "game.rules.limits._INVITES_FROM_IPV6": lambda entry: {**_invites(entry), "site": ip_address("2001:db8:1::")},
    "game.rules.locks._LEVEL": lambda entry: {"amount": entry.stake_amount},
    "game.rules.locks._PLAYER": lambda entry: {"phone": entry.player.phone},
    "game.rules.matching._FRIEND": lambda entry: {**_waiting(entry), "code": entry.match_code or "ABC234"},
    "game.rules.matching._LONGEST_WAITING": _waiting,
    "game.rules.matching._OF_PAYER": lambda entry: {"payment": entry.payment_id, "player": entry.player_id},
    "game.rules.placing._KNOWN": lambda entry: {
        "player": entry.player_id,
        "since": clock.now() - timedelta(hours=1),
    },
    "game.tokens._ENTRY": lambda entry: {"pk": entry.pk},
    "game.etag._FACTS": lambda entry: {"pk": entry.pk},
    "payments.journal._LOCKED": lambda entry: {"key": entry.payment_id},
    "payments.webhooks._BY_TRANSACTION": lambda entry: {"transaction": entry.payment.transaction_id},
    "payments.webhooks._PENDING": _pending,
}


def test_every_statement_is_compared() -> None:
    assert sorted(_selects()) == sorted(ARGUMENTS)


def _values(row: Any) -> Any:
    """Return the columns of a row and of the related rows that were read with it."""
    if not isinstance(row, models.Model):
        return row
    assert row._state.db == "default"
    assert not row._state.adding
    read_with_it = [value for value in row._state.fields_cache.values() if value is not None]
    return [
        {field.attname: getattr(one, field.attname) for field in one._meta.concrete_fields}
        for one in (row, *read_with_it)
    ]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_it_returns_what_the_orm_returns(client: Client, settings: Any, name: str) -> None:
    settings.MOMO_AUTO_APPROVE, settings.SMS_DELIVERY = False, "worker"
    entries = [
        paid_stake(client, ALICE, 3000),
        paid_stake(client, BOB, 4000, create_private=True),
        paid_stake(client, CAROL, 5000, display_name="Carol"),
    ]
    session = Session.objects.create(token="t", stake_amount=3000, prize_amount=6000, expires_at=clock.now())
    for entry in entries:
        entry.session, entry.invite_phone = session, INVITED
        entry.save()
    for _ in range(3):
        RefusedStake.objects.create(client_address="127.0.0.1", client_site="2001:db8:1::")
    select, found = Select(_selects()[name].build), 0
    for entry in [*entries, *entries]:
        arguments = ARGUMENTS[name](entry)
        with transaction.atomic():
            rows = select(**arguments)
            assert [_values(row) for row in rows] == [_values(row) for row in select.build(**arguments)]
        found += len(rows)
    assert found >= 2


def test_a_match_writes_what_the_orm_writes(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.SMS_DELIVERY = False, "worker"
    first, second = paid_stake(client, ALICE, 3000), _entry(client)
    session = Session.objects.create(token="t", stake_amount=3000, prize_amount=6000, expires_at=clock.now())
    arguments: dict[str, Any] = {"first": first.pk, "second": second.pk, "session": session.pk}
    arguments |= {"now": clock.now(), "until": clock.now() + timedelta(hours=1)}
    written = []
    for run in (Update(matching._MATCH.build), _run_by_orm):
        with transaction.atomic():
            assert run(**arguments) == 2
            written.append([_values(entry) for entry in Entry.objects.order_by("pk")])
            transaction.set_rollback(True)
    assert written[0] == written[1]


def _entry(client: Client) -> Entry:
    stake(client, BOB, 4000)
    return Entry.objects.latest("pk")


def _run_by_orm(**arguments: Any) -> int:
    queryset, changes = matching._MATCH.build(**arguments)
    return int(queryset.update(**changes))


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no row locks")
def test_a_lock_outside_a_transaction_is_refused() -> None:
    select = Select(lambda key: Player.objects.select_for_update().filter(pk=key))
    for _ in range(2):  # The first call compiles the statement, the second reuses it.
        with pytest.raises(TransactionManagementError, match="outside of a transaction"):
            select(key=1)
        with transaction.atomic():
            assert select(key=1) == []


def test_it_is_compiled_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []

    def build(key: int) -> "models.QuerySet[Player]":
        built.append(key)
        return Player.objects.filter(pk=key)

    select = Select(build)
    keys = [Player.objects.create(phone=f"+25677200000{number}").pk for number in range(3)]
    assert [row.pk for key in keys for row in select(key=key)] == keys
    assert len(built) == 1
    assert select.first(key=max(keys) + 1) is None


def test_a_statement_works_on_a_new_connection_and_after_an_error() -> None:
    find = Select(lambda phone: Player.objects.filter(phone=phone))
    first = Player.objects.create(phone=ALICE)
    assert find(phone=ALICE) == [first]
    connection.close()
    assert find(phone=ALICE) == [first]
    with pytest.raises(IntegrityError):
        insert([Player(phone=ALICE)])
    insert([Player(phone=BOB)])
    assert find(phone=BOB) == list(Player.objects.filter(phone=BOB))
    with connection.execute_wrapper(_refuse), pytest.raises(AssertionError, match="Refused"):
        find(phone=ALICE)


def _refuse(*_arguments: object) -> None:
    raise AssertionError("Refused")


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite keeps no cursors")
def test_a_connection_keeps_a_limited_number_of_cursors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "_MOST_CURSORS", 2)
    for number in range(5):
        insert([Player(phone=f"+2567720000{number}{row}") for row in range(number + 1)])
        assert len(connection._kept_cursors[1]) <= 2  # type: ignore[attr-defined]
    assert Player.objects.count() == 15


def test_constants_are_in_the_statement_so_that_a_generic_plan_uses_partial_indexes() -> None:
    statement = Select(
        lambda name: Entry.objects.filter(status="queued", display_name=name).exclude(reason="O'Brien %s")
    )
    assert statement(name="queued") == []
    compiled = statement._compiled[connection.vendor]
    assert """"status" = 'queued'""" in compiled.sql
    assert [parameter({"name": "x"}) for parameter in compiled.parameters] == ["x", "O'Brien %s"]


def test_an_argument_that_it_cannot_place_is_an_error() -> None:
    with pytest.raises(TypeError, match="None is no int"):
        Select(lambda key: Player.objects.filter(pk=key))(key=None)
    with pytest.raises(ValueError, match="does not contain its arguments: phone"):
        Select(lambda key, phone: Player.objects.filter(pk=key))(key=1, phone="x")


@pytest.mark.parametrize("model", [Callback, Entry, LedgerEntry, Payment, PaymentEvent, Player, Session])
def test_an_inserted_row_is_the_row_that_the_orm_would_save(client: Client, settings: Any, model: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.SMS_DELIVERY = False, "worker"
    paid_stake(client, ALICE), paid_stake(client, BOB)
    unique = {"transaction_id": "another", "token": "another", "phone": "+256772999999", "invite_phone": "", "key": "x"}
    names = [field.attname for field in model._meta.concrete_fields if not field.primary_key]
    example = model.objects.order_by("-pk").first()
    rows = []
    for number in range(2):
        values = {name: getattr(example, name) for name in names}
        values |= {name: f"{value}{number}"[:16] for name, value in unique.items() if name in names}
        if model is Entry:
            values["payment"] = Payment.objects.create(phone=ALICE, amount=1000, version=1)
            values.pop("payment_id")
        rows.append(model(**values))
    insert(rows)
    for row in rows:
        saved = model.objects.get(pk=row.pk)
        assert {name: getattr(saved, name) for name in names} == {name: getattr(row, name) for name in names}
        assert not row._state.adding


@pytest.mark.parametrize("model", [Callback, Entry, LedgerEntry, Payment, PaymentEvent, Player, Session])
def test_a_new_row_has_the_values_that_the_orm_gives_it(model: Any) -> None:
    """Values that a function computes for each instance are compared by type: times and the transaction id."""
    player, payment = Player(pk=3), Payment(pk=4)
    related: dict[Any, dict[str, Any]] = {Entry: {"player": player}, LedgerEntry: {"payment": payment}}
    computed = {
        field.attname for field in model._meta.concrete_fields if field.has_default() and callable(field.default)
    }
    for values in ({}, related.get(model, {}), {"pk": 7}):
        ours, theirs = new(model, **values), model(**values)
        assert vars(ours._state) == vars(theirs._state)
        assert vars(ours).keys() == vars(theirs).keys()
        for name, value in vars(theirs).items():
            mine = vars(ours)[name]
            assert name == "_state" or (type(mine) is type(value) if name in computed else mine == value)


def test_an_insert_that_locks_finds_the_row_that_exists() -> None:
    first, again = Player(phone=ALICE), Player(phone=ALICE)
    insert([first], locks="phone")
    insert([again], locks="phone")
    assert first.pk == again.pk
    assert Player.objects.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        insert([Player(phone=ALICE)])


def test_an_update_writes_the_named_fields_only() -> None:
    payment, other = Payment.objects.create(phone=ALICE, amount=1000), Payment.objects.create(phone=BOB, amount=2000)
    payment.amount, payment.reason, payment.settled_at = 3000, "changed", clock.now()
    with CaptureQueriesContext(connection) as queries:
        update(payment, ["reason", "settled_at"])
    assert len(queries) == 1
    saved = Payment.objects.get(pk=payment.pk)
    assert (saved.amount, saved.reason, saved.settled_at) == (1000, "changed", payment.settled_at)
    assert _values(Payment.objects.get(pk=other.pk)) == _values(other)
    Payment.objects.filter(pk=other.pk).delete()
    with pytest.raises(DatabaseError, match="is gone"):
        update(other, ["reason"])


def test_a_failure_inside_a_transaction_rolls_all_of_it_back() -> None:
    with transaction.atomic():
        insert([Player(phone=BOB)])
        with pytest.raises(IntegrityError):
            insert([Player(phone=BOB)])
        assert connection.needs_rollback
    assert not Player.objects.exists()


def test_values_of_arguments_do_not_look_like_real_ones() -> None:
    """The marks are outside the possible values of stakes, phones and times, and differ from each other."""
    for mark in statements._MARKS.values():
        assert len({mark(number) for number in range(20)}) == 20


def test_a_stake_after_another_uses_the_new_arguments(client: Client, settings: Any) -> None:
    settings.MOMO_AUTO_APPROVE, settings.SMS_DELIVERY = False, "worker"
    for phone, amount in ((ALICE, 1000), (BOB, 2000), (CAROL, 2000)):
        stake(client, phone, amount)
    assert list(Entry.objects.order_by("pk").values_list("stake_amount", flat=True)) == [1000, 2000, 2000]
