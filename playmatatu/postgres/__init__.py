"""Django's PostgreSQL backend with a limit on every wait, for the processes that call `limit_waits`: the site's.

Workers and commands have no such limits: a migration or a clean-up may take its time.
"""

# `limit_waits` sets this to True in the processes of the site: their waits for the database are limited.
limited = False


def limit_waits() -> None:
    global limited
    limited = True
