#!/bin/sh
# usage: every.sh SECONDS NAME COMMAND …: runs a command every SECONDS, for compose.yaml. A failure is reported.
seconds=$1 name=$2
shift 2
trap 'exit 0' TERM
while :; do
    sleep "$seconds" &
    wait $!
    "$@" || python manage.py report_failure "$name"
done
