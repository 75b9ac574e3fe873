"""Database triggers of the journal and the ledger: append-only tables, the mark `stale`, and totals of past hours."""

from typing import Any

TABLES = ("payments_paymentevent", "payments_ledgerentry", "payments_providerdebit")
_STATE = (
    "status", "refund_due", "refunded_at", "collected_at", "contested", "collection", "place", "back", "word",
    "payout", "house_share", "settled_by_name", "amount", "fee",
)  # fmt: skip

# One exception: the events of a payment that is over 30 days old and never had money may be deleted.
_POSTGRES = """
CREATE OR REPLACE FUNCTION payments_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'payments_paymentevent' THEN
        IF NOT EXISTS (SELECT 1 FROM payments_ledgerentry WHERE payment_id = OLD.payment_id) AND EXISTS (
            SELECT 1 FROM payments_payment
            WHERE id = OLD.payment_id AND created_at < statement_timestamp() - interval '30 days'
        ) THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
"""


def install(connection: Any, tables: tuple[str, ...] = TABLES) -> None:
    """Create the triggers that make the journal and the ledger append-only."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_POSTGRES)
            for table in tables:
                cursor.execute(
                    f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} "
                    "FOR EACH ROW EXECUTE FUNCTION payments_append_only()"
                )
                cursor.execute(
                    f"CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {table} "
                    "FOR EACH STATEMENT EXECUTE FUNCTION payments_append_only()"
                )
        elif connection.vendor == "sqlite":
            for table in tables:
                kept = (
                    "WHEN EXISTS (SELECT 1 FROM payments_ledgerentry WHERE payment_id = OLD.payment_id) OR NOT EXISTS "
                    "(SELECT 1 FROM payments_payment WHERE id = OLD.payment_id "
                    "AND created_at < datetime('now', '-30 days')) "
                )
                exception = kept if table == "payments_paymentevent" else ""
                fail = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                cursor.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {fail}")
                cursor.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {exception}{fail}")


def remove(connection: Any, tables: tuple[str, ...] = TABLES) -> None:
    """Drop these triggers, when the migration is reversed or a test empties the tables."""
    with connection.cursor() as cursor:
        for table in tables:
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER IF EXISTS append_only ON {table}")
                cursor.execute(f"DROP TRIGGER IF EXISTS append_only_truncate ON {table}")
            elif connection.vendor == "sqlite":
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_update")
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_delete")


def install_stale(connection: Any) -> None:
    """Create the trigger that marks a payment as `stale` if an UPDATE changes its state but not its version."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            changed = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in _STATE)
            cursor.execute(
                "CREATE OR REPLACE FUNCTION payments_stale() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN NEW.stale := true; RETURN NEW; END $$"
            )
            cursor.execute(
                "CREATE TRIGGER stale BEFORE UPDATE ON payments_payment FOR EACH ROW "
                f"WHEN (OLD.version = NEW.version AND ({changed})) EXECUTE FUNCTION payments_stale()"
            )
        elif connection.vendor == "sqlite":
            changed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in _STATE)
            cursor.execute(
                "CREATE TRIGGER payments_payment_stale AFTER UPDATE ON payments_payment "  # noqa: S608
                f"WHEN OLD.version = NEW.version AND ({changed}) "
                "BEGIN UPDATE payments_payment SET stale = 1 WHERE id = NEW.id; END"
            )


def remove_stale(connection: Any) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP TRIGGER IF EXISTS stale ON payments_payment")
        elif connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER IF EXISTS payments_payment_stale")


# If the clock was set back, a transaction may add entries to an hour whose totals are stored. This function adds them to
# the totals. Its lock makes the transaction and `ledger.write_hours` run one after the other.
_LATE_FUNCTION = """
CREATE OR REPLACE FUNCTION payments_late_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM entries WHERE hour + interval '1 hour' <= greatest(clock_timestamp(), transaction_timestamp())
    ) THEN
        LOCK TABLE payments_accounthour IN ROW EXCLUSIVE MODE;
    END IF;
    IF EXISTS (SELECT 1 FROM entries WHERE hour <= (SELECT max(hour) FROM payments_accounthour)) THEN
        INSERT INTO payments_accounthour AS total (hour, debit, credit, amount, count)
        SELECT hour, debit, credit, sum(amount), count(*) FROM entries
        WHERE hour <= (SELECT max(hour) FROM payments_accounthour)
        GROUP BY hour, debit, credit ORDER BY hour, debit, credit
        ON CONFLICT (hour, debit, credit)
        DO UPDATE SET amount = total.amount + EXCLUDED.amount, count = total.count + EXCLUDED.count;
    END IF;
    RETURN NULL;
END $$;
"""
_LATE_TRIGGER = """
CREATE TRIGGER late_entries AFTER INSERT ON payments_ledgerentry
REFERENCING NEW TABLE AS entries FOR EACH STATEMENT EXECUTE FUNCTION payments_late_entries();
"""
_LATE_SQLITE = """
CREATE TRIGGER payments_ledgerentry_late AFTER INSERT ON payments_ledgerentry
WHEN NEW.hour <= (SELECT max(hour) FROM payments_accounthour)
BEGIN
    INSERT INTO payments_accounthour (hour, debit, credit, amount, count)
    VALUES (NEW.hour, NEW.debit, NEW.credit, NEW.amount, 1)
    ON CONFLICT (hour, debit, credit) DO UPDATE SET amount = amount + NEW.amount, count = count + 1;
END
"""


def install_late(connection: Any) -> None:
    """Create the trigger for entries whose hour has stored totals, because the database's clock was set back."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_LATE_FUNCTION + _LATE_TRIGGER)
        elif connection.vendor == "sqlite":
            cursor.execute(_LATE_SQLITE)


def remove_late(connection: Any) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("DROP TRIGGER IF EXISTS late_entries ON payments_ledgerentry")
        elif connection.vendor == "sqlite":
            cursor.execute("DROP TRIGGER IF EXISTS payments_ledgerentry_late")


def replace_late(connection: Any) -> None:
    """Replace the function of this trigger. The table is not locked."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_LATE_FUNCTION)
