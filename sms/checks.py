"""System checks of the settings and the database."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connection, router

import sms
from sms import conf, owners
from sms.dmark.dlr_url import dlr_url
from sms.text.segments import Segments, segments

_PER_PROCESS = ("locmem", "dummy")
_SCHEMES = ("http", "https")
_NO_QUEUE = ("ImmediateBackend", "DummyBackend")


# The check sms.W007 warns if the busy timeout of SQLite is shorter than this number of seconds.
_BUSY_TIMEOUT = 5


@register
def sms_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    found = [*_database(), *_times()]
    found += _other_packages()
    if problems := conf.problems():
        hint = "Correct the setting, or leave it out: it has a default."
        return [*found, *(Error(problem, hint=hint, id="sms.E004") for problem in problems)]
    config = conf.current()
    return [*found, *_credentials(config), *_tasks_framework(config)]


@register
def sms_samples(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn once per kind of message and language if the longest sample text takes more than one SMS."""
    longest: dict[tuple[str, str], Segments] = {}
    for sample in owners.samples():
        size = segments(sample.text)
        key = (sample.kind, sample.language)
        if size.count > 1 and (key not in longest or size.count > longest[key].count):
            longest[key] = size
    return [
        checks.Warning(
            f"[{kind}] in {language} takes {size.count} SMS with the longest values: {size.length} characters of "
            f"{size.encoding}, and one SMS holds {160 if size.encoding == 'GSM-7' else 70}.",
            hint="Shorten the text, or the base of its links.",
            id="sms.W010",
        )
        for (kind, language), size in longest.items()
    ]


@register(deploy=True)
def sms_production(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    try:
        config = conf.current()
    except ImproperlyConfigured:
        return []  # The check `sms_settings` reports invalid settings.
    if not config.configured:
        return []
    return [*_base_url(config), *_cache(), *_delivery(config), *(_reports(config) if config.dlr_enabled else ())]


def _database() -> Iterator[CheckMessage]:
    # The queries that claim messages use UPDATE … FROM … RETURNING. MariaDB, for example, does not support this.
    known = connection.vendor in ("postgresql", "sqlite")
    if not known or not connection.features.can_return_columns_from_insert:
        yield Error(
            "The outbox needs PostgreSQL, or SQLite 3.35 or newer: no message can be claimed on this database.",
            hint='Use a PostgreSQL database as DATABASES["default"], or a newer SQLite.',
            id="sms.E003",
        )
    models = list(apps.get_app_config("sms").get_models())
    places = {place(model) for model in models for place in (router.db_for_read, router.db_for_write)}
    without_table = [model for model in models if not router.allow_migrate_model(DEFAULT_DB_ALIAS, model)]
    if places != {DEFAULT_DB_ALIAS} or without_table:
        yield Error(
            "A database router sends the tables of sms elsewhere: a message is queued in the transaction of the change "
            "that it reports, and is sent from the default database.",
            hint="Let the router leave the app sms in 'default' (DATABASE_ROUTERS).",
            id="sms.E005",
        )
    if connection.vendor == "sqlite":
        yield from _sqlite(connection.settings_dict["OPTIONS"])


def _sqlite(options: dict[str, Any]) -> Iterator[CheckMessage]:
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        yield checks.Warning(
            "On SQLite a transaction that begins with a read fails with 'database is locked' while another one writes.",
            hint='Set DATABASES["default"]["OPTIONS"]["transaction_mode"] to "IMMEDIATE".',
            id="sms.W006",
        )
    if float(options.get("timeout", _BUSY_TIMEOUT)) < _BUSY_TIMEOUT:
        yield checks.Warning(
            f"On SQLite a writer must wait for other writers for at least {_BUSY_TIMEOUT} seconds.",
            hint=f'Set DATABASES["default"]["OPTIONS"]["timeout"] to {_BUSY_TIMEOUT} or more; 20 is good.',
            id="sms.W007",
        )


def _other_packages() -> Iterator[CheckMessage]:
    """Report other packages that Python could import as `sms`: in a folder of sys.path, or PyPI's django-sms."""
    ours = Path(sms.__file__).resolve().parent
    places = {Path(entry or ".").resolve() / "sms" for entry in sys.path if isinstance(entry, str)}
    others = sorted(str(place) for place in places if place != ours and (place / "__init__.py").exists())
    with suppress(metadata.PackageNotFoundError):
        others.append(f"django-sms {metadata.version('django-sms')}")
    if others:
        yield Error(
            f"Another package has the import name `sms` too: {', '.join(others)}. Which one is imported depends on "
            "sys.path.",
            hint="Rename the other package, or use only one of the two in this project.",
            id="sms.E008",
        )


def _times() -> Iterator[CheckMessage]:
    if not settings.USE_TZ:
        yield Error("USE_TZ is off: leases and expiry need aware times.", hint="Set USE_TZ to True.", id="sms.E006")


def _credentials(config: conf.Config) -> Iterator[CheckMessage]:
    values = {
        "SMS_SERVICE_BASE_URL": config.base_url,
        "SMS_SERVICE_USERNAME": config.username,
        "SMS_SERVICE_PASSWORD": config.password,
    }
    missing = [name for name, value in values.items() if not value]
    if 0 < len(missing) < len(values):
        yield Error(
            f"SMS is only half set up, so no message is sent: {' and '.join(missing)} missing.",
            hint="Set all three of SMS_SERVICE_BASE_URL, SMS_SERVICE_USERNAME and SMS_SERVICE_PASSWORD, or none.",
            id="sms.E001",
        )
    if config.base_url and config.base_url_problem:
        problem, _, hint = config.base_url_problem.partition(". ")
        yield Error(f"{problem}.", hint=hint, id="sms.E002")
    paths = (config.token_path, config.send_path, config.dlr_path)
    if config.base_url.endswith("/v3") and any(path.startswith("/v3/") for path in paths):
        yield checks.Warning(
            "SMS_SERVICE_BASE_URL ends in /v3 and the paths begin with /v3: requests would go to /v3/v3/….",
            hint=f"Set SMS_SERVICE_BASE_URL to {config.base_url.removesuffix('/v3')}.",
            id="sms.W008",
        )


def _base_url(config: conf.Config) -> Iterator[CheckMessage]:
    if conf.host(config.base_url) not in ("", *conf.LOOPBACK) and urlsplit(config.base_url).scheme == "http":
        yield checks.Warning(
            "SMS_SERVICE_BASE_URL is plain HTTP: the password and every message can be read on the way.",
            hint="Use https://.",
            id="sms.W001",
        )


def _cache() -> Iterator[CheckMessage]:
    backend = str(settings.CACHES.get("default", {}).get("BACKEND", ""))
    if any(name in backend for name in _PER_PROCESS):
        yield checks.Warning(
            "The cache is not shared: each process fetches its own token, and the rate limit counts per process.",
            hint='Use a shared cache, for example Redis, as CACHES["default"].',
            id="sms.W002",
        )


def _delivery(config: conf.Config) -> Iterator[CheckMessage]:
    if config.delivery == "inline":
        yield checks.Warning(
            f"Messages are sent inline: each request waits for {conf.PROVIDER}, and nothing is retried later.",
            hint="Set SMS_DELIVERY to worker and run manage.py sms_worker.",
            id="sms.W003",
        )
    if config.delivery == "tasks" and any(name in _tasks_backend() for name in _NO_QUEUE):
        yield checks.Warning(
            "SMS_DELIVERY is tasks, but the task backend has no queue: it runs tasks at once, or never.",
            hint="Set TASKS to a backend with a queue, or SMS_DELIVERY to worker.",
            id="sms.W009",
        )


def _tasks_framework(config: conf.Config) -> Iterator[CheckMessage]:
    if config.delivery == "tasks" and not any(map(find_spec, ("django.tasks", "django_tasks"))):
        yield Error(
            "SMS_DELIVERY is tasks, but this Django has no tasks framework, so no message can be sent.",
            hint="Install django-tasks (playmatatu-sms[tasks]), or use Django 6.",
            id="sms.E007",
        )


def _tasks_backend() -> str:
    backends = getattr(settings, "TASKS", None) or {"default": {"BACKEND": "ImmediateBackend"}}
    return str(backends.get("default", {}).get("BACKEND", ""))


def _reports(config: conf.Config) -> Iterator[CheckMessage]:
    if not dlr_url(1, config):
        yield checks.Warning(
            f"{conf.PROVIDER} gets no URL for its delivery reports.",
            hint="Set SITE_URL and include sms.urls in the URLconf, or set SMS_DLR_ENABLED to false.",
            id="sms.W004",
        )
    elif conf.host(config.site_url) in ("", *conf.LOOPBACK) or urlsplit(config.site_url).scheme not in _SCHEMES:
        yield checks.Warning(
            f"SITE_URL is not a URL that {conf.PROVIDER} can reach, so no delivery report arrives.",
            hint="Set SITE_URL to this service's public address, or SMS_DLR_ENABLED to false.",
            id="sms.W005",
        )
