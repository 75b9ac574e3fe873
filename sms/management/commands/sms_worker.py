import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from sms import conf
from sms.worker.worker import Options, Worker


class Command(BaseCommand):
    help = "Deliver what is due in the outbox. Any number of workers may share one PostgreSQL table."
    # An operator needs one line here, and a text must not wait for a setting of something else.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--threads", type=int, default=64, help="texts in flight at once (default 64)")
        parser.add_argument("--batch", type=int, default=48, help="rows a claim (default 48)")
        parser.add_argument("--lease", type=float, help="seconds a claim holds unrenewed (SMS_LEASE_SECONDS)")
        parser.add_argument("--poll", type=float, help="seconds between two looks (1; 0.2 without LISTEN)")
        parser.add_argument(
            "--housekeeping", type=float, default=60.0, help="seconds between asking for missing reports (default 60)"
        )
        parser.add_argument("--once", action="store_true", help="send what is due now, then exit")

    def handle(self, *args: Any, **given: Any) -> None:
        config = conf.current()
        if not config.enabled:
            raise CommandError(
                "SMS is disabled: set SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD."
            )
        listens = connection.vendor == "postgresql"
        options = Options(
            threads=max(1, given["threads"]),
            batch=max(1, given["batch"]),
            lease=given["lease"] or config.lease,
            poll=given["poll"] or (1.0 if listens else 0.2),
            once=given["once"],
            housekeeping=max(0.1, given["housekeeping"]),
        )
        worker = Worker(options, self._say)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: worker.stop())
        self._say(
            f"sms_worker: {connection.vendor}, {options.threads} threads, {options.batch} rows a claim, "
            f"lease {options.lease:g} s, {'LISTEN and ' if listens else ''}poll every {options.poll:g} s, "
            f"provider {config.base_url}"
        )
        well = worker.run()
        if options.once and not well:
            raise CommandError(f"Sending is paused: {worker.gate.reason}")
        self._say("sms_worker: done" if options.once else "sms_worker: stopped")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
