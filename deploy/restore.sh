#!/bin/sh
# usage: restore.sh DUMP DATABASE: restores a dump into an empty database on the server of DATABASE_URL, in one transaction.
# The database in use is not changed. Check the restored database, stop the services, change DATABASE_URL, and start them.
set -eu
dump=$1
connection=$(python3 "$(dirname "$0")/pg_env.py" "$2")
eval "$connection"
query() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --command "$1"; }
tables=$(query "select count(*) from pg_tables where schemaname = 'public'")
[ "$tables" = 0 ] || { echo "Database $2 is not empty ($tables tables); create a new one." >&2; exit 1; }
# pg_restore 17 and newer set transaction_timeout, which an older server does not know. If pg_restore fails, the last two
# lines end COPY and the transaction.
{ pg_restore --no-owner --no-privileges --file=- "$dump" || printf '\\.\nselect 1/0;\n'; } |
    sed '1,50{/^SET transaction_timeout = 0;$/d;}' |
    psql --no-psqlrc --quiet --output=/dev/null --set ON_ERROR_STOP=1 --single-transaction --file=-
# A dump has no statistics for the planner, so they are collected here. The warning about system tables is hidden.
export PGOPTIONS="-c client_min_messages=error"
query "analyze"
messages=$(query "select count(*) from sms_smsmessage")
echo "restored; messages in it: $messages"
