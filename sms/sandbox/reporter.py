"""Push delivery reports to the `dlr_url` of each message. The switches decide when, and with which status."""

from collections.abc import Callable

from sms.sandbox.later import push
from sms.sandbox.state import Received, State, now

_NUMBERS = {"DELIVERED": "1", "FAILED": "2", "PENDING": "8"}
# If the push of a report gets no response, it is repeated after 2 seconds. There are at most 3 pushes in total.
TRIES, TRY_AGAIN = 3, 2.0


class Reporter:
    def __init__(self, state: State) -> None:
        self.state = state

    def plan(self, message: Received) -> Callable[[], None]:
        """Set the status that polls return. Return a function that schedules the delivery reports.

        Call the returned function after the response to the send request was written.
        """
        faults = self.state.faults.of_number(message.to)
        after = faults.report_after
        words = {
            "numeric": [("DELIVERED", after)],
            "late": [("DELIVERED", after + faults.late_seconds)],
            "twice": [("DELIVERED", after), ("DELIVERED", after + 0.5)],
            "repeated": [("PENDING", after + step / 10) for step in range(5)],
            "backwards": [("DELIVERED", after), ("FAILED", after + 0.3), ("PENDING", after + 0.6)],
            "odd_word": [("ESME_RSUBMITFAIL", after)],
            "never": [],
        }.get(faults.report, [(faults.report.upper(), after)])
        message.status = words[0][0] if words else "PENDING"

        def push_later() -> None:
            for word, delay in words:
                self._put(delay, message, word)

        return push_later

    def at_once(self, message: Received) -> None:
        """Push a delivery report now, before the response to the send request is written."""
        message.status = "DELIVERED"
        if message.dlr_url:
            self._push(message, message.status, TRIES)

    def _put(self, delay: float, message: Received, word: str, tries: int = 1) -> None:
        if message.dlr_url:
            self.state.later.put(delay, lambda: self._push(message, word, tries))

    def _push(self, message: Received, word: str, tries: int) -> None:
        faults = self.state.faults
        values = {
            "msg_id": message.msg_id,
            "status": _NUMBERS.get(word, word) if faults.report == "numeric" else word,
            "submitted_at": now(),
        }
        status = push(message.dlr_url, values, faults.report_method)
        if status is None:
            if tries < TRIES:
                self._put(TRY_AGAIN, message, word, tries + 1)
            return
        self.state.reported(message, word.lower() if status < 400 else f"{word.lower()} (refused)")
