"""Frequent SQL statements that are compiled once and reused.

Otherwise the ORM builds and compiles the same SQL for each stake, which takes most of the site's time. `Select`
compiles a queryset at its first call. `insert` and `update` keep the SQL for each model and set of fields. They take
model instances like the ORM, but do not send pre_save and post_save signals. tests/payments/test_hot_statements.py
compares their results with the ORM's on both databases.
"""

import copy
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, models, transaction
from django.db.models import QuerySet

from payments.database import NO_WAIT_SQL

T = TypeVar("T")

_DB = DEFAULT_DB_ALIAS
# Placeholder values that no row contains. They show where each argument is used in the compiled SQL.
_MARKS: dict[type, Callable[[int], Any]] = {
    int: lambda number: 1_900_000_000 + number,
    str: lambda number: f"<argument {number}>",
    datetime: lambda number: datetime(1901, 1, 1, tzinfo=timezone.utc) + timedelta(days=number),
}


class _Compiled(NamedTuple):
    queryset: Any
    compiler: Any
    sql: str
    # For each parameter of the SQL, a function that computes it from the call's arguments.
    parameters: tuple[Callable[[dict[str, Any]], Any], ...]
    # For each column that needs a conversion, by its index: the functions that convert its values.
    converters: dict[int, Any]


class Select(Generic[T]):
    """A queryset that is compiled at its first call.

    `build`: returns the queryset for its arguments, which must be int, str or datetime. The queryset may depend only on
    these, and may use them only in lookups that do not change them, such as `=`, `<` or `>`.
    """

    def __init__(self, build: Callable[..., "QuerySet[Any, T]"]) -> None:
        self.build = build
        self._compiled: dict[str, _Compiled] = {}

    def __call__(self, **arguments: Any) -> list[T]:
        """Run the statement and return its rows. Raises TypeError if an argument has another type, such as None."""
        connection = connections[_DB]
        values = {name: _prepared(value) for name, value in arguments.items()}
        compiled = self._compiled.get(connection.vendor)
        if compiled is None:
            compiled = self._compiled[connection.vendor] = self._compile(arguments)
        parameters = tuple(parameter(values) for parameter in compiled.parameters)
        compiler, query = copy.copy(compiled.compiler), copy.copy(compiled.queryset.query)
        compiler.connection = connection
        compiler.as_sql = lambda *_args, **_kwargs: (compiled.sql, parameters)
        compiler.get_converters = lambda _columns: compiled.converters
        query.get_compiler = lambda *_args, **_kwargs: compiler
        found = SimpleNamespace(**{**vars(compiled.queryset), "db": _DB, "query": query})
        return list(compiled.queryset._iterable_class(found))

    def first(self, **arguments: Any) -> T | None:
        """Run the statement and return its first row, or None."""
        return next(iter(self(**arguments)), None)

    def _compile(self, arguments: dict[str, Any]) -> _Compiled:
        marks = {name: _MARKS[type(value)](number) for number, (name, value) in enumerate(arguments.items())}
        queryset = self.build(**marks)
        compiler = queryset.query.get_compiler(using=_DB)
        sql, parameters = compiler.as_sql()
        missing = set(marks)
        places: list[Callable[[dict[str, Any]], Any]] = []
        for value in parameters:
            name = next((name for name, mark in marks.items() if value == _prepared(mark)), None)
            places.append(_constant(value) if name is None else _argument(name, type(value)))
            missing.discard(name or "")
        if missing:
            raise ValueError(f"The statement does not contain its arguments: {', '.join(sorted(missing))}")
        converters = compiler.get_converters([column for column, _sql, _alias in compiler.select[: compiler.col_count]])
        return _Compiled(queryset, compiler, sql, tuple(places), converters)


def _constant(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda _values: value


def _argument(name: str, kind: type) -> Callable[[dict[str, Any]], Any]:
    """Return a function that gets one argument from a call's arguments. Django wraps integers in classes of this
    `kind`.
    """
    if issubclass(kind, int):
        return lambda values: kind(values[name])
    return lambda values: values[name]


def _prepared(value: Any) -> Any:
    if type(value) not in _MARKS:
        raise TypeError(f"{value!r} is no int, str or datetime")
    return connections[_DB].ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


def insert(rows: Sequence[models.Model], *, locks: str = "", waits: bool = True) -> None:
    """Insert rows of one model with one statement and set their primary keys. `rows` must not be empty.

    `locks`: the name of a unique field. If a row with the same value exists, it is locked instead of inserted, and its
    primary key is set.

    `waits`: if False, the transaction commits without waiting for the disk on PostgreSQL (see `payments.database`).
    """
    connection = connections[_DB]
    fields, head, row_sql, tail = _insert_sql(type(rows[0]), locks, waits, connection.vendor)
    values = [field.get_db_prep_save(field.pre_save(row, add=True), connection) for row in rows for field in fields]
    with transaction.mark_for_rollback_on_error(_DB), connection.cursor() as cursor:
        cursor.execute(f"{head}{', '.join([row_sql] * len(rows))}{tail}", values)
        keys = [found[0] for found in cursor.fetchall()]
    for row, key in zip(rows, keys, strict=True):
        row.pk = key
        row._state.adding, row._state.db = False, _DB


@cache
def _insert_sql(model: type[models.Model], locks: str, waits: bool, vendor: str) -> tuple[list[Any], str, str, str]:
    quote, key = connections[_DB].ops.quote_name, model._meta.pk
    fields: list[Any] = [field for field in model._meta.concrete_fields if field is not key]
    columns = ", ".join(quote(field.column) for field in fields)
    head = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES "  # noqa: S608 names of models only
    unique = quote(locks)
    conflict = f" ON CONFLICT ({unique}) DO UPDATE SET {unique} = EXCLUDED.{unique}" if locks else ""
    tail = f"{conflict} RETURNING {quote(key.attname)}"
    if not waits and vendor == "postgresql":
        tail += f", {NO_WAIT_SQL}"
    return fields, head, f"({', '.join(['%s'] * len(fields))})", tail


def update(row: models.Model, names: Sequence[str]) -> None:
    """Save the named fields of a row. Raises DatabaseError if the row no longer exists."""
    connection = connections[_DB]
    fields, sql = _update_sql(type(row), tuple(names), connection.vendor)
    values = [field.get_db_prep_save(field.pre_save(row, add=False), connection) for field in fields]
    with transaction.mark_for_rollback_on_error(_DB), connection.cursor() as cursor:
        cursor.execute(sql, [*values, row.pk])
        if cursor.rowcount != 1:
            raise DatabaseError(f"The row {row.pk} of {row._meta.db_table} is gone.")


@cache
def _update_sql(model: type[models.Model], names: tuple[str, ...], vendor: str) -> tuple[list[Any], str]:
    quote = connections[_DB].ops.quote_name
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    columns = ", ".join(f"{quote(field.column)} = %s" for field in fields)
    table, key = quote(model._meta.db_table), quote(model._meta.pk.attname)
    return fields, f"UPDATE {table} SET {columns} WHERE {key} = %s"  # noqa: S608 names of models only
