#!/bin/sh
# usage: backup.sh FOLDER [DAYS]: dumps the database of DATABASE_URL into FOLDER. Only the owner can read the dumps. Dumps
# older than DAYS (default 14) are deleted.
set -eu
umask 077
folder=$1 days=${2:-14}
name="$folder/playmatatu-$(date -u +%Y%m%dT%H%M%SZ).dump"
connection=$(python3 "$(dirname "$0")/pg_env.py")
eval "$connection"
mkdir -p "$folder"
# The dump has another name until it is complete.
pg_dump --format=custom --no-owner --no-privileges --file="$name.part"
mv "$name.part" "$name"
find "$folder" -name 'playmatatu-*.dump' -mtime "+$days" -delete
find "$folder" -name 'playmatatu-*.part' -mtime +1 -delete
echo "$name"
