#!/usr/bin/env bash
# usage: deploy/trial.sh FOLDER: docs/production.md carried out in an empty folder, on ports of this machine alone. PostgreSQL,
# Redis, the files of deploy/ with their names and ports replaced, a certificate of its own, and the sandbox for DMark and
# DMarkPay; then two players stake, pay and meet through nginx with TLS, and the copy of the database is restored once.
# Needed: PostgreSQL's programs, nginx, openssl, curl, and redis-server (or its path in REDIS_SERVER). UV: uv's path, if it is there.
set -euo pipefail
code=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ -z "$(ls -A "$folder")" ] || { echo "$folder is not empty." >&2; exit 1; }
release=$folder/release
pg=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
PATH=$pg:/usr/sbin:$PATH
redis_server=${REDIS_SERVER:-redis-server}
# PostgreSQL refuses to run as root.
as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(runuser -u nobody --)

say() { echo "--- $*"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
secret() { python3 -c 'import secrets; print(secrets.token_hex(24))'; }
until_true() { # seconds, command …
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "not within its time: $*" >&2; tail -n 20 "$folder"/*.log >&2; exit 1; }
        sleep 0.2
    done
}
expect() { # what, wanted, got
    [ "$2" = "$3" ] || { echo "$1: expected '$2', got '$3'" >&2; tail -n 20 "$folder"/*.log >&2; exit 1; }
}
declare -A pids
start() { # name, command …
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    pids[$name]=$!
}
stop() { # by SIGTERM, as the service manager does; exit code 0 wanted
    kill "${pids[$1]}"
    local code=0
    wait "${pids[$1]}" || code=$?
    unset "pids[$1]"
    expect "$1 on SIGTERM" 0 "$code"
}
clean() {
    for name in "${!pids[@]}"; do kill "${pids[$name]}" 2>/dev/null || true; done
    "${as_nobody[@]}" pg_ctl -D "$folder/postgres/data" -m immediate stop >/dev/null 2>&1 || true
    wait
}
trap clean EXIT
db=$(free_port) cache=$(free_port) site=$(free_port) http=$(free_port) tls=$(free_port) provider=$(free_port)
host=play.example.com

say "the release, and what it needs, each file by its hash"
mkdir "$release"
(cd "$code" && git archive HEAD) | tar -x -C "$release"
if [ -n "${UV:-}" ]; then # the same in a tenth of the time
    "$UV" venv -q "$release/.venv"
    "$UV" pip install -q --python "$release/.venv/bin/python" --require-hashes -r "$release/requirements.lock"
else
    python3 -m venv "$release/.venv"
    "$release/.venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$release/requirements.lock"
fi

say "PostgreSQL: a cluster, a role, a database"
mkdir "$folder/postgres"
[ "$(id -u)" != 0 ] || { chown nobody "$folder/postgres"; chmod a+rx "$folder"; }
db_password=$(secret)
"${as_nobody[@]}" initdb -D "$folder/postgres/data" -U postgres -A trust -E UTF8 >/dev/null
"${as_nobody[@]}" pg_ctl -D "$folder/postgres/data" -w -l "$folder/postgres/log" \
    -o "-p $db -c listen_addresses=127.0.0.1 -k $folder/postgres" start >/dev/null
psql -q -h 127.0.0.1 -p "$db" -U postgres -c "create role playmatatu login password '$db_password'" \
    -c "create database playmatatu owner playmatatu" -c "create database restored owner playmatatu"
url=postgres://playmatatu:$db_password@127.0.0.1:$db

say "Redis, with a password"
cache_password=$(secret)
sed "s/CHOOSE-A-LONG-ONE/$cache_password/" "$release/deploy/redis.conf" >"$folder/redis.conf"
start redis "$redis_server" "$folder/redis.conf" --port "$cache"

say "the settings"
(umask 077; sed -e "s/^SECRET_KEY=.*/SECRET_KEY=$(secret)$(secret)/" \
    -e "s#^DATABASE_URL=.*#DATABASE_URL=$url/playmatatu#" \
    -e "s#^REDIS_URL=.*#REDIS_URL=redis://:$cache_password@127.0.0.1:$cache/0#" \
    -e "s#https://$host#https://$host:$tls#" \
    -e "s#^SMS_SERVICE_BASE_URL=.*#SMS_SERVICE_BASE_URL=http://127.0.0.1:$provider#" \
    -e "s/^SMS_SERVICE_USERNAME=.*/SMS_SERVICE_USERNAME=operator/" \
    -e "s/^SMS_SERVICE_PASSWORD=.*/SMS_SERVICE_PASSWORD=$(secret)/" \
    -e "s/^DMARK_PAY_USERNAME=.*/DMARK_PAY_USERNAME=operator/" \
    -e "s/^DMARK_PAY_PASSWORD=.*/DMARK_PAY_PASSWORD=$(secret)/" \
    -e "s/^DMARK_PAY_ACCOUNT_CODE=.*/DMARK_PAY_ACCOUNT_CODE=trial/" \
    -e "s/^MOMO_CALLBACK_SECRET=.*/MOMO_CALLBACK_SECRET=$(secret)/" "$release/deploy/env" >"$folder/env"
echo "DMARK_PAY_BASE_URL=http://127.0.0.1:$provider" >>"$folder/env")
ln -s "$folder/env" "$release/.env"
cd "$release"
manage() { .venv/bin/python manage.py "$@"; }
manage migrate -v0
manage collectstatic --noinput -v0
manage check --deploy --fail-level WARNING

say "the services, by the commands of their units"
unit() { # name, more …: the command of deploy/systemd/name.service
    local name=$1 command
    shift
    command=$(sed -n "s#^ExecStart=/srv/playmatatu/current#$release#p" "deploy/systemd/playmatatu-$name.service")
    # shellcheck disable=SC2086  # words
    start "$name" $command "$@"
}
start sandbox .venv/bin/python manage.py dmark_sandbox --port "$provider"
unit site -b "127.0.0.1:$site"
unit sms-worker
unit game-worker

say "nginx with TLS"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$host" -addext "subjectAltName=DNS:$host" \
    -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
sed -e "/\[::\]/d" -e "s/listen 80;/listen 127.0.0.1:$http;/" -e "s/listen 443 /listen 127.0.0.1:$tls /" \
    -e "s/127.0.0.1:8000/127.0.0.1:$site/" -e "s#/var/log/nginx/#$folder/nginx-#" \
    -e "s#/etc/letsencrypt/live/$host/fullchain.pem#$folder/cert.pem#" \
    -e "s#/etc/letsencrypt/live/$host/privkey.pem#$folder/key.pem#" deploy/nginx.conf >"$folder/site.conf"
{
    [ "$(id -u)" != 0 ] || echo "user root;"
    echo "pid $folder/nginx.pid; daemon off; error_log $folder/nginx-start.log; events {}"
    echo "http { client_body_temp_path $folder/body; proxy_temp_path $folder/proxy; fastcgi_temp_path $folder/fastcgi;"
    echo "uwsgi_temp_path $folder/uwsgi; scgi_temp_path $folder/scgi; include $folder/site.conf; }"
} >"$folder/nginx.conf"
nginx -t -q -c "$folder/nginx.conf"
start nginx nginx -c "$folder/nginx.conf"
ask() { curl -sS --max-time 20 --cacert "$folder/cert.pem" --resolve "$host:$tls:127.0.0.1" "$@"; }
public=https://$host:$tls
status() { ask -o /dev/null -w '%{http_code}' "$@"; }
until_true 60 ask -f "$public/api/v1/config"
until_true 60 curl -sf "http://127.0.0.1:$provider/inbox.json"

say "who may ask what"
expect "the page" 200 "$(status "$public/")"
expect "health from outside" 404 "$(status "$public/api/v1/health")"
expect "metrics from outside" 404 "$(status "$public/metrics")"
expect "the admin from a network of ours" 302 "$(status "$public/admin/")"
expect "plain http" "301 $public/?match_code=ABC234" \
    "$(curl -sS -o /dev/null -w '%{http_code} %{redirect_url}' -H "Host: $host" "http://127.0.0.1:$http/?match_code=ABC234" | sed "s#https://$host/#$public/#")"
expect "a player's link by plain http" "https://$host/g/x" \
    "$(curl -sS -o /dev/null -w '%{redirect_url}' -H "Host: $host" "http://127.0.0.1:$http/g/x?pt=secret")"
inside() { curl -sS --max-time 5 -H "Host: $host" -H 'X-Forwarded-Proto: https' "http://127.0.0.1:$site/api/v1/health"; }
inside | grep -q '"status": *"\(ok\|degraded\)"'

say "two players stake, pay and meet"
field() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1], ""))' "$1"; }
stake() {
    ask -f -H 'Content-Type: application/json' -d "{\"phone_number\": \"$1\", \"stake_amount\": 1000}" "$public/api/v1/game/stake"
}
prompt() { curl -sf "http://127.0.0.1:$provider/prompts.json" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["sp_transaction_id"])'; }
texts() { curl -sf "http://127.0.0.1:$provider/inbox.json" | python3 -c 'import json, sys; print(sum("Play here" in text["text"] for text in json.load(sys.stdin)))'; }
for phone in 0772000001 0772000002; do
    expect "a stake" awaiting_payment "$(stake $phone | field status)"
    until_true 30 prompt
    curl -sf -o /dev/null -H 'Content-Type: application/json' -d '{"answer": "pay"}' "http://127.0.0.1:$provider/prompts/$(prompt)"
done
both() { [ "$(texts)" = 2 ]; }
until_true 60 both
link=$(curl -sf "http://127.0.0.1:$provider/inbox.json" | python3 -c 'import json, re, sys; print(re.search(r"https://\S+pt=\S+", json.dumps(json.load(sys.stdin)))[0].rstrip("\","))')
expect "the link of the text" 302 "$(status "$link")"

say "a copy of the database, restored"
dump=$(DATABASE_URL=$url/playmatatu deploy/backup.sh "$folder/backups" | tail -1)
count() { psql -tA -c 'select count(*) from sms_smsmessage' "$1"; }
deploy/restore.sh "$dump" "$url/restored"
expect "texts in the copy" "$(count "$url/playmatatu")" "$(count "$url/restored")"

say "stopping"
for name in nginx site sms-worker game-worker; do stop "$name"; done
expect "player tokens in the logs" 0 "$(cat "$folder"/*.log "$folder"/nginx-* | grep -c 'pt=[^\[]' || true)"
say "all well"
