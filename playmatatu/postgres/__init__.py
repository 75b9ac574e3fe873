"""Django's PostgreSQL backend with a limit on every wait, for the processes that call `limit_waits`: the site's.

Workers and commands have no such limits: a migration or a clean-up may take its time.
"""

# Whether this process limits its waits for the database. `limit_waits` sets it in the processes of the site.
limited = False


def limit_waits() -> None:
    global limited
    limited = True
