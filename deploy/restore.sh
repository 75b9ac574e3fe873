#!/bin/sh
# usage: restore.sh DUMP URL: puts a copy into the empty database of URL, all or nothing. The running one is left alone:
# look at the copy first, then stop the services, change DATABASE_URL, start them again.
set -eu
dump=$1 url=$2
tables=$(psql --no-psqlrc --tuples-only --no-align --command "select count(*) from pg_tables where schemaname = 'public'" "$url")
[ "$tables" = 0 ] || { echo "That database is not empty ($tables tables); create a new one for the copy." >&2; exit 1; }
pg_restore --no-owner --no-privileges --exit-on-error --single-transaction --dbname="$url" "$dump"
# What the planner knows of the tables is not in a dump.
PGOPTIONS="-c client_min_messages=error" psql --no-psqlrc --quiet --command "analyze" "$url"
echo "restored; texts in it: $(psql --no-psqlrc --tuples-only --no-align --command 'select count(*) from sms_smsmessage' "$url")"
