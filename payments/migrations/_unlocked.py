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


def drop_indexes_unlocked(**indexes: str) -> migrations.RunPython:
    """Drop indexes that Django made for a field. Stakes go on meanwhile. SQLite keeps the indexes.

    `indexes`: for each name the table and its column, to build the index again if the migration is reversed.
    """

    def drop(_apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            for name in indexes:
                schema_editor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')

    def build(apps: Any, schema_editor: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            drop(apps, schema_editor)  # An earlier run may have been interrupted.
            for name, columns in indexes.items():
                schema_editor.execute(f'CREATE INDEX CONCURRENTLY "{name}" ON {columns}')

    return migrations.RunPython(drop, build)
