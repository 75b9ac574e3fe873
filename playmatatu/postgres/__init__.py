"""Django's PostgreSQL backend with a time limit on every wait, in processes that call `limit_waits`.

Only the processes of the site call `limit_waits`. Workers and commands have no such limits, because a migration or a
clean-up may need a long time.
"""

# `limit_waits` sets this to True in the processes of the site: their waits for the database are limited.
limited = False


def limit_waits() -> None:
    global limited
    limited = True
