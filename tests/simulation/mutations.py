"""Mutations of the sender. Each mutation removes one fix, so that a scenario and a seed must detect the fault again.

A mutation replaces text in the source of a function. `docs/simulation.md` has a table of findings and seeds.
"""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Edit:
    """A replacement of `old` by `new` in the function or method `where` (`module:Class.name`).

    `old` must occur exactly once.
    """

    where: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """A mutation, and the test and the seed that detect it.

    `finding`: the fault. `scenario`: a test in `test_findings.py`, called with `arguments`. `invariant`: the number of
    the invariant that fails with this seed.
    """

    name: str
    finding: str
    edits: tuple[Edit, ...]
    scenario: str
    arguments: tuple[Any, ...] = ()
    seed: int = 0
    invariant: int = 0


_WORKER, _LOOP = "sms.worker.worker:Worker.", "sms.worker.engine.loop:Engine."

MUTATIONS = (
    Mutation(
        "busy_spins",
        "5: a busy worker does not sleep",
        (Edit(_WORKER + "_next_turn", "if self._room():", "if True:"),),
        "test_a_busy_worker_sleeps_and_frees_what_another_left",
        seed=2,
        invariant=8,
    ),
    Mutation(
        "busy_frees_nothing",
        "5: a busy worker frees no lease",
        (
            Edit(_WORKER + "_turn", "    self.reaper.look()", "    self.recorder.in_hand or self.reaper.look()"),
            Edit(
                _WORKER + "_next_turn",
                "self.reaper.next_look,",
                "1e9 if self.recorder.in_hand else self.reaper.next_look,",
            ),
        ),
        "test_a_busy_worker_sleeps_and_frees_what_another_left",
        seed=155,
        invariant=6,
    ),
    Mutation(
        "eligibility_from_its_start",
        "6: eligibility that takes over 1 s",
        (Edit(_WORKER + "_offer", "job.until = answered_at +", "job.until = asked_at +"),),
        "test_slow_eligibility_keeps_no_message",
        (1.1, 0.0005),
        seed=16,
        invariant=6,
    ),
    Mutation(
        "two_clocks",
        "7: due time and claim by two clocks",
        (
            Edit("sms.outbox:_insert", "message.due_at = clock.Now()", "message.due_at = clock.now()"),
            Edit("sms.sending.claims:claim", "if due_only else", "if True else"),
            Edit("sms.sending.claims:claim", "OR attempts = 0", ""),
        ),
        "test_inline_sends_although_the_clock_is_set_back",
        (-0.5, False),
        seed=51,
        invariant=6,
    ),
    Mutation(
        "partial_after_commit",
        "8: a partial after the commit",
        (
            Edit(
                "sms.outbox:_send_after_commit",
                "transaction.on_commit(send_committed, robust=True)",
                "transaction.on_commit(__import__('functools').partial(send_committed), robust=True)",
            ),
        ),
        "test_a_failure_after_the_commit_stops_no_other_message",
        seed=6,
        invariant=9,
    ),
    Mutation(
        "key_expires",
        "9: a rate-limit key expires between two calls",
        (
            Edit(
                "sms.sending.rate_limit:acquire_many",
                "taken |= _add(gone, window)",
                "taken |= dict.fromkeys(gone, True)",
            ),
        ),
        "test_a_key_that_expires_between_two_calls_lets_one_message_pass",
        seed=136,
        invariant=7,
    ),
    Mutation(
        "clock_set_back",
        "10: the database's clock is set back",
        (
            Edit("sms.sending.claims:ExpiredLeaseReaper.look", "self._seen or seen - timedelta", "seen - timedelta"),
            Edit("sms.sending.claims:ExpiredLeaseReaper.look", "seconds=self._seconds), self._free", "seconds=0)"),
        ),
        "test_a_clock_that_steps_takes_no_lease_of_a_worker_that_runs",
        (60.0,),
        seed=16,
        invariant=2,
    ),
    Mutation(
        "receivers_block",
        "11: a receiver hangs, and ten batches wait for it",
        (
            Edit(
                "sms.worker.background:SignalSender.send",
                "    self._pending.put(",
                "    while len(self._pending._items) > 10: runtime.current.sleep(0.1)\n    self._pending.put(",
            ),
        ),
        "test_receivers_that_hang_stop_no_message",
        seed=8,
        invariant=9,
    ),
    Mutation(
        "after_the_lease",
        "12: requests after the lease",
        (
            Edit(_LOOP + "_holds_lease", "not job.lease_lost and clock.monotonic() < self.leases_hold_until", "True"),
            Edit(_LOOP + "_may_begin", " and clock.monotonic() < self.leases_hold_until", ""),
        ),
        "test_no_request_leaves_after_its_lease",
        seed=16,
        invariant=1,
    ),
    Mutation(
        "crashes_do_not_count",
        "13: more than four copies in a crash loop",
        (
            Edit(
                "sms.sending.claims:free_leases_over_before",
                'Greatest("ambiguous_requests", 1)',
                'Greatest("ambiguous_requests", 0)',
            ),
            Edit("sms.sending.claims:count_ahead", "doubts + %s", "doubts + 0 * %s"),
        ),
        "test_a_crash_loop_sends_four_copies_at_most",
        (0.4,),
        seed=61,
        invariant=3,
    ),
    Mutation(
        "crashes_count_who_waits",
        "13: crashes use up the requests of a message that only waits",
        (
            Edit(
                "sms.sending.claims:free_leases_over_before",
                'Greatest("ambiguous_requests", 1)',
                'Greatest("ambiguous_requests", 0) + 1',
            ),
            Edit("sms.sending.claims:count_ahead", "doubts + %s", "doubts + 0 * %s"),
        ),
        "test_a_crash_loop_ends_no_message_that_only_waits",
        (0.0,),
        seed=406,
        invariant=13,
    ),
    Mutation(
        "former_id_kept",
        "14: a resend keeps the former request's id",
        (Edit("sms.outbox:resend", 'provider_id="",', ""),),
        "test_a_poll_after_a_resend_asks_for_the_new_request",
        seed=90,
        invariant=11,
    ),
    Mutation(
        "result_recorded_once",
        "15: inline, the result is lost with the connection",
        (Edit("sms.sending.results:record", "retry_once(lambda: store(results))", "store(results)"),),
        "test_inline_records_its_result_on_a_fresh_connection",
        seed=36,
        invariant=5,
    ),
    Mutation(
        "conclude_raises",
        "16: an exception while a batch is concluded",
        (Edit("sms.worker.recorder:Recorder.conclude", "except Exception as error:", "except KeyError as error:"),),
        "test_an_exception_while_concluding_keeps_no_other_message",
        seed=12,
        invariant=5,
    ),
    Mutation(
        "kept_connections",
        "17: kept connections that were closed",
        (Edit("sms.dmark.kept_connections:KeptConnections.note_loss", "= now + _SECONDS", "= 0.0"),),
        "test_kept_connections_that_were_closed_cost_no_minute",
        seed=159,
        invariant=12,
    ),
    Mutation(
        "no_statement_timeout",
        "18: a database that hangs",
        (Edit("sms.worker.background:StatementTimeout._run", "since is not None and", "False and"),),
        "test_a_database_that_hangs_delays_sigterm_less_than_30_s",
        seed=15,
        invariant=9,
    ),
    Mutation(
        "events_for_each_look",
        "20: rate-limit events for each look",
        (
            Edit("sms.sending.rate_limit:was_limited", 'message.error.startswith("Rate limit")', "False"),
            Edit("sms.sending.rate_limit:acquire_many", "turns[place] * window", "0"),
        ),
        "test_200_messages_to_one_phone_are_logged_once_each",
        seed=47,
        invariant=8,
    ),
    Mutation(
        "rounds_of_5xx",
        "20: copies through complete 5xx answers",
        (Edit("sms.sending.attempt:settle", ">= 500 and", ">= 900 and"),),
        "test_a_provider_that_takes_messages_and_answers_500_gets_few_copies",
        seed=34,
        invariant=3,
    ),
    Mutation(
        "finish_spins",
        "22: SIGTERM with a backlog spins",
        (Edit(_WORKER + "_next_turn", "if self._room():", "if self._room() or self._stop_requested:"),),
        "test_sigterm_with_a_backlog_sleeps",
        seed=2,
        invariant=8,
    ),
    Mutation(
        "finish_raises",
        "22: an exception while finishing",
        (
            Edit(
                _WORKER + "run",
                "except Exception as error:  # noqa: BLE001 - logged",
                "except __import__('django.db').db.OperationalError as error:",
            ),
        ),
        "test_an_exception_while_finishing_loses_no_result",
        seed=26,
        invariant=2,
    ),
)
BY_NAME = {one.name: one for one in MUTATIONS}


def _function(where: str) -> Any:
    module, _, path = where.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _code(function: Any, edits: list[Edit]) -> Any:
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        assert source.count(edit.old) == 1, f"{edit.where} does not have {edit.old!r} once"
        source = source.replace(edit.old, edit.new)
    made: dict[str, Any] = {}
    exec(compile(ast.parse(source), inspect.getfile(function), "exec"), function.__globals__, made)
    return made[function.__name__].__code__


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """Replace the code of the mutated functions in this block, for all modules that have imported them."""
    by_function: dict[str, list[Edit]] = {}
    for edit in mutation.edits:
        by_function.setdefault(edit.where, []).append(edit)
    functions = {where: _function(where) for where in by_function}
    before = {where: function.__code__ for where, function in functions.items()}
    after = {where: _code(function, by_function[where]) for where, function in functions.items()}
    try:
        for where, function in functions.items():
            function.__code__ = after[where]
        yield
    finally:
        for where, function in functions.items():
            function.__code__ = before[where]
