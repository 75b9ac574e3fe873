"""Send many messages to DMark at once, over libcurl in one thread.

`Engine` and `Job` are the public interface. The engine uses neither the database nor the cache. No other package uses
libcurl.
"""

from sms.worker.engine.job import ENDED, UNANSWERED, WAITING, Job, LeaseExpired
from sms.worker.engine.loop import Engine
from sms.worker.engine.tokens import TokenAnswer

__all__ = ["ENDED", "UNANSWERED", "WAITING", "Engine", "Job", "LeaseExpired", "TokenAnswer"]
