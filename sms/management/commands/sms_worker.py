import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import Error as DatabaseError
from django.db import connection

from sms import conf, outbox
from sms.conf import PROVIDER
from sms.models import SmsMessage
from sms.worker import maintenance


class Command(BaseCommand):
    help = "Send the due messages of the outbox. Any number of workers may share one PostgreSQL table."
    # An error in an unrelated setting must not stop the sending of messages.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--in-flight", "--threads", type=int, default=64, metavar="N", help=f"messages with {PROVIDER} at once (64)"
        )
        parser.add_argument("--batch", type=int, default=48, help="rows a claim (48)")
        parser.add_argument("--lease", type=float, help="seconds for which a claim is valid (SMS_LEASE_SECONDS)")
        parser.add_argument(
            "--poll", type=float, help="seconds between two polls of the outbox (1; 0.2 without LISTEN)"
        )
        parser.add_argument(
            "--maintenance",
            "--housekeeping",
            type=float,
            default=60.0,
            help="seconds between two rounds of maintenance and of polling for delivery reports (60)",
        )
        parser.add_argument("--once", action="store_true", help="send the messages that are due now, then exit")

    def handle(self, *args: Any, **given: Any) -> None:
        stop: list[Callable[[], None]] = []
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: stop[0]() if stop else sys.exit(0))
        try:
            config = conf.current()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        if refusal := config.disabled_because:
            raise CommandError(refusal)
        try:
            from sms.worker.recorder import describe
            from sms.worker.worker import Options, ThreadEnded, Worker
        except ImportError as error:
            if given["once"]:
                return self._send_without_pycurl()
            raise CommandError(
                f"The worker needs pycurl 7.48 or newer: pip install 'playmatatu-sms[worker]' ({error}). "
                "Without it, sms_worker --once sends one message after the other."
            ) from None
        listens = connection.vendor == "postgresql"
        options = Options(
            in_flight=max(1, given["in_flight"]),
            batch=max(1, given["batch"]),
            lease=given["lease"] or config.lease,
            poll=given["poll"] or (1.0 if listens else 0.2),
            once=given["once"],
            maintenance=max(0.1, given["maintenance"]),
        )
        _need_descriptors(options.in_flight)
        if options.once:
            _prepare_once()
        worker = Worker(options)
        stop.append(worker.stop)
        if hasattr(signal, "SIGUSR1"):
            # The signal may arrive while a line is being written. Then `os.write` works, but a buffered write can fail.
            signal.signal(signal.SIGUSR1, lambda *_: os.write(2, describe(worker.recorder).encode()))
        self._say(
            f"sms_worker: {connection.vendor}, {options.in_flight} in flight, {options.batch} rows a claim, "
            f"lease {options.lease:g} s, {'LISTEN and ' if listens else ''}poll every {options.poll:g} s, "
            f"provider {config.shown_base_url}"
        )
        try:
            well = worker.run()
        except ThreadEnded as error:
            raise CommandError(f"{error} The service manager should start the worker again.") from None
        if options.once and not well:
            raise CommandError(f"Sending is paused: {worker.breaker.reason}")
        self._say("sms_worker: done" if options.once else "sms_worker: stopped")
        return None

    def _send_without_pycurl(self) -> None:
        _prepare_once()
        if reason := outbox.deliver_due():
            raise CommandError(f"Sending is paused: {reason}")
        self._say("sms_worker: done (one message after the other, since pycurl is not installed)")

    def _say(self, line: str) -> None:
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except (OSError, ValueError):
            # A full disk or a closed terminal must not end the worker. Without a replacement for stdout, Python would
            # report an error at exit.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
            self.stdout = OutputWrapper(sys.stdout)


def _prepare_once() -> None:
    """Check that the table of messages exists, and apply the pauses to the queue (see `maintenance.park`).

    Raises CommandError if the table is missing or the database is unreachable. Otherwise, `--once` would repeat its
    failing queries forever.
    """
    table = SmsMessage._meta.db_table
    try:
        found = table in connection.introspection.table_names()
    except DatabaseError as error:
        raise CommandError(f"The database is out of reach ({type(error).__name__}).") from None
    if not found:
        raise CommandError(f"The table {table} is missing: run manage.py migrate.")
    maintenance.park()


def _need_descriptors(in_flight: int) -> None:
    """Increase this process's limit on open files to at least `in_flight` + 200.

    Each message in flight needs a connection, and many systems allow only 1,024 open files by default. Raises
    CommandError if the system allows too few.
    """
    if sys.platform == "win32":
        return
    import resource

    needed = in_flight + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise CommandError(f"--in-flight {in_flight} needs {needed} open files, the system allows {hard}.")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
