"""The site's settings in a process whose clock is wrong by CLOCK_OFFSET seconds, for Python and Django."""

import os
import time
from datetime import datetime, timedelta

from django.utils import timezone

from playmatatu.settings import *  # noqa: F403

_OFFSET = float(os.environ.get("CLOCK_OFFSET", "0"))
_now, _time = timezone.now, time.time


def _wrong_now() -> datetime:
    return _now() + timedelta(seconds=_OFFSET)


def _wrong_time() -> float:
    return _time() + _OFFSET


timezone.now, time.time = _wrong_now, _wrong_time
