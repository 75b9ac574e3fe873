"""Migrations that build and drop indexes CONCURRENTLY: interrupted ones and reversed ones."""

import importlib

import pytest
from django.apps import apps
from django.db import connection, models
from django.db.migrations.loader import MigrationLoader
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


@pytest.mark.parametrize("app", ["game", "payments"])
def test_a_reversed_migration_builds_the_dropped_indexes(app: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite keeps the indexes")
    operation = (
        MigrationLoader(connection)
        .get_migration_by_prefix(app, {"game": "0016", "payments": "0017"}[app])
        .operations[-1]
    )
    state = ProjectState.from_apps(apps)
    before = _indexes()
    with connection.schema_editor(atomic=False) as editor:
        for _ in range(2):
            operation.database_backwards(app, editor, state, state)
        built = _indexes() - before
        operation.database_forwards(app, editor, state, state)
    assert len(built) == {"game": 4, "payments": 5}[app]
    assert _indexes() == before


def _indexes() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
        return {name for (name,) in cursor.fetchall()}
