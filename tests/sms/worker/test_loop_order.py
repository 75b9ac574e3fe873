"""The engine's order: which jobs begin and which wait, pauses, and one token request for all jobs."""

import threading
import time

from sms import clock
from sms.dmark.conversation import AccessToken, Conversation, NeedToken, Pause, Request
from sms.errors import ProviderUnavailable
from sms.worker.engine.loop import ENDED, WAITING
from tests.conftest import wait_for
from tests.sms.worker.loop_host import ANSWER, Driver, answering, host, once

# --- which jobs begin


def test_no_more_is_begun_than_a_crash_may_double() -> None:
    """Incidents elsewhere: alphagov/notifications-api#474, hypothesis/lms#5346.

    The number of messages that a crash may duplicate has a limit.
    """
    driver = Driver(in_flight=4, unrecorded=6)
    with host(answering(ANSWER, delay=0.02)) as one:
        jobs = driver.submit(*(once(one.url) for _ in range(30)))
        wait_for(lambda: len(driver.loop.ended) == 10)
        time.sleep(0.2)
        assert len(one.requests) == 10
        assert not driver.loop.begun
        assert len(driver.loop.take()) == 10
        driver.loop.note_recorded(3)
        wait_for(lambda: len(one.requests) == 13)
        driver.loop.note_recorded(7)
        while any(job.step != ENDED for job in jobs):
            driver.loop.note_recorded(len(driver.loop.take()))
            time.sleep(0.01)
        assert len(one.requests) == 30
    assert driver.loop.quit(5)


def test_nothing_is_begun_once_the_leases_may_have_run_out(driver: Driver) -> None:
    """A stalled worker begins no message that another worker may have claimed.

    Incidents elsewhere: cds-snc/notification-api#1912, hexpm/hexpm#1825.
    """
    driver.loop.leases_hold_until = clock.monotonic() - 0.01
    with host(answering(ANSWER)) as one:
        [job] = driver.submit(once(one.url))
        time.sleep(0.2)
        assert (job.step, one.requests) == (WAITING, [])
        driver.loop.leases_hold_until = clock.monotonic() + 10
        driver.loop.waker.wake()
        wait_for(lambda: job.step == ENDED)


def test_too_late_to_begin_is_handed_back(driver: Driver) -> None:
    [job] = driver.submit(once("http://127.0.0.1:9/"), until=clock.monotonic() - 1)
    wait_for(lambda: len(driver.loop.ended) == 1)
    assert driver.loop.take() == [job]
    assert not job.begun


def test_what_is_not_begun_is_taken_back() -> None:
    driver = Driver(in_flight=1)
    with host(answering(ANSWER, delay=0.5)) as one:
        first, *others = driver.submit(*(once(one.url) for _ in range(4)))
        wait_for(lambda: len(one.requests) == 1)
        assert driver.loop.take_back() == others
        wait_for(lambda: first.step == ENDED)
        assert len(one.requests) == 1
    assert driver.loop.quit(5)


def test_a_conversation_with_a_defect_ends_alone(driver: Driver) -> None:
    def broken() -> Conversation[str]:
        yield Pause(0.01)
        raise KeyError("a defect")

    def unsendable(url: str) -> Conversation[str]:
        yield Request("send", url, b"{}", "a\ud800token")
        return "never"

    with host(answering(ANSWER)) as one:
        bad, worse, good = driver.results(broken(), unsendable(one.url), once(one.url))
    assert isinstance(bad, KeyError)
    assert isinstance(worse, UnicodeError)
    assert good.startswith("200")


# --- pauses and tokens


def test_a_conversation_begins_in_the_thread_that_submits_it(driver: Driver) -> None:
    """The engine's thread would be slower: its work delays all messages in flight."""
    names: list[str] = []

    def talk() -> Conversation[str]:
        names.append(threading.current_thread().name)
        yield Pause(0.0)
        names.append(threading.current_thread().name)
        return "id"

    assert driver.results(talk()) == ["id"]
    assert names == [threading.current_thread().name, "sms-engine"]


def test_pauses_end_in_their_order(driver: Driver) -> None:
    order = []

    def pausing(name: str, seconds: float) -> Conversation[str]:
        yield Pause(seconds)
        order.append(name)
        return name

    driver.results(pausing("late", 0.3), pausing("soon", 0.05), pausing("between", 0.15))
    assert order == ["soon", "between", "late"]


def test_draining_cuts_pauses_short(driver: Driver) -> None:
    def patient() -> Conversation[str]:
        return "gave up" if (yield Pause(60)) is False else "never"

    [before] = driver.submit(patient())
    wait_for(lambda: "pause" in before.step)
    driver.loop.draining = True
    driver.loop.waker.wake()
    [after] = driver.submit(patient())
    wait_for(lambda: {before.ending, after.ending} == {"gave up"})


def with_token(got: list[str], rejects: str = "") -> Conversation[str]:
    given: AccessToken = yield NeedToken("")
    if given.token == rejects:
        given = yield NeedToken(rejects)
    got.append(given.token)
    return given.token


def test_many_who_need_a_token_ask_once(driver: Driver) -> None:
    got: list[str] = []
    driver.answer = lambda rejected: None
    jobs = driver.submit(*(with_token(got) for _ in range(20)))
    wait_for(lambda: all(job.step.startswith("token") for job in jobs))
    driver.give_token("", "one")
    wait_for(lambda: len(got) == 20)
    assert set(got) == {"one"}
    assert driver.asked == [""]
    # The engine uses the token for one second before it asks again.
    driver.results(*(with_token(got) for _ in range(5)))
    assert len(driver.asked) <= 2


def test_a_refused_token_is_replaced_once_for_all(driver: Driver) -> None:
    got: list[str] = []
    driver.answer = lambda rejected: "fresh" if rejected == "stale" else "stale"
    driver.results(*(with_token(got, rejects="stale") for _ in range(20)))
    assert set(got) == {"fresh"}
    assert [asked for asked in driver.asked if asked] == ["stale"]


def test_dmark_may_give_the_refused_token_again(driver: Driver) -> None:
    got: list[str] = []
    driver.answer = lambda rejected: "stale"
    driver.results(with_token(got, rejects="stale"))
    assert got == ["stale"]
    assert driver.asked == ["", "stale"]


def test_a_token_that_cannot_be_had_fails_all_who_wait(driver: Driver) -> None:
    got: list[str] = []
    driver.answer = lambda rejected: ProviderUnavailable("DMark is in trouble (503).", 503)
    results = driver.results(*(with_token(got) for _ in range(5)))
    assert {str(result) for result in results} == {"DMark is in trouble (503)."}
    assert len({id(result) for result in results}) == 5
    driver.answer = lambda rejected: "again"
    assert driver.results(with_token(got)) == ["again"]
