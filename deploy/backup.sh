#!/bin/sh
# usage: backup.sh FOLDER [DAYS]: a copy of DATABASE_URL's database, as only its owner may read it; keeps 14 days of them.
set -eu
umask 077
folder=$1 days=${2:-14}
name="$folder/playmatatu-$(date -u +%Y%m%dT%H%M%SZ).dump"
mkdir -p "$folder"
# Under another name until it is whole.
pg_dump --format=custom --no-owner --no-privileges --file="$name.part" "$DATABASE_URL"
mv "$name.part" "$name"
find "$folder" -name 'playmatatu-*.dump' -mtime "+$days" -delete
find "$folder" -name 'playmatatu-*.part' -mtime +1 -delete
echo "$name"
