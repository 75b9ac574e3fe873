#!/bin/sh
# usage: backup.sh FOLDER [DAYS]: dumps the database of DATABASE_URL into FOLDER, readable by its owner only, and keeps the
# dumps of 14 days.
set -eu
umask 077
folder=$1 days=${2:-14}
name="$folder/playmatatu-$(date -u +%Y%m%dT%H%M%SZ).dump"
connection=$(python3 "$(dirname "$0")/pg_env.py")
eval "$connection"
mkdir -p "$folder"
# Under another name until it is complete.
pg_dump --format=custom --no-owner --no-privileges --file="$name.part"
mv "$name.part" "$name"
find "$folder" -name 'playmatatu-*.dump' -mtime "+$days" -delete
find "$folder" -name 'playmatatu-*.part' -mtime +1 -delete
echo "$name"
