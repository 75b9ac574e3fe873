"""Indexes that are built and dropped while the table is in use."""

from typing import Any

from django.db import migrations


class AddIndexUnlocked(migrations.AddIndex):
    """On PostgreSQL built CONCURRENTLY: stakes go on while a large table is indexed."""

    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            return super().database_forwards(app_label, schema_editor, from_state, to_state)
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            # If an earlier run was interrupted, its index exists but may be incomplete.
            schema_editor.remove_index(model, self.index, concurrently=True)
            schema_editor.add_index(model, self.index, concurrently=True)


def drop_indexes_unlocked(*names: str) -> migrations.RunPython:
    """Drop indexes that Django made for a field. Stakes go on meanwhile. SQLite keeps the indexes."""

    def drop(_apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            for name in names:
                schema_editor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')

    return migrations.RunPython(drop, migrations.RunPython.noop)
