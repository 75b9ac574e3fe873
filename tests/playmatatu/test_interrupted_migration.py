"""A migration that builds an index CONCURRENTLY, and that was interrupted after the index was created."""

import importlib

import pytest
from django.apps import apps
from django.db import connection, models
from django.db.migrations.state import ProjectState

pytestmark = pytest.mark.django_db(transaction=True)

MODULES = ("sms.migrations.0003_console_indexes", "payments.migrations._unlocked")


@pytest.mark.parametrize("module", MODULES)
def test_an_interrupted_index_is_built_again(module: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL builds indexes CONCURRENTLY")
    unlocked = importlib.import_module(module).AddIndexUnlocked
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX half_built ON payments_payment (phone)")
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half_built'::regclass")
        try:
            state = ProjectState.from_apps(apps)
            operation = unlocked(model_name="payment", index=models.Index(fields=["amount"], name="half_built"))
            with connection.schema_editor(atomic=False) as editor:
                operation.database_forwards("payments", editor, state, state)
            cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'half_built'::regclass")
            assert cursor.fetchone() == (True,)
        finally:
            cursor.execute("DROP INDEX half_built")
