#!/usr/bin/env bash
# usage: deploy/trial.sh FOLDER: executes the sh blocks of docs/production.md in order, in an empty folder and on free ports.
# The page's folders /etc, /srv and /var are below FOLDER/root. systemd, apt, users and certbot are replaced by small programs
# in FOLDER/bin. PostgreSQL, Redis, nginx with TLS and the service itself are real. The sandbox replaces DMark and DMarkPay.
# As a reader does, the trial replaces play.example.com with another host name. At a mark `<!-- trial: name -->` of the page, the
# function `at_name` below runs.
# Needed: PostgreSQL's programs, Debian's nginx, openssl, curl, patch, and redis-server (or its path in REDIS_SERVER).
# UV: the path of uv, which installs ten times as fast as pip. COMPILED: an environment of uv that already has bytecode.
set -euo pipefail
code=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
FOLDER=$(cd "$1" && pwd)
[ -z "$(ls -A "$FOLDER")" ] || { echo "$FOLDER is not empty." >&2; exit 1; }
ROOT=$FOLDER/root
PATH=$FOLDER/bin:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1):$PATH:/usr/sbin
REDIS_SERVER=${REDIS_SERVER:-redis-server} UV=${UV:-} COMPILED=${COMPILED:-}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
DB=$(free_port) CACHE=$(free_port) SITE=$(free_port) HTTP=$(free_port) TLS=$(free_port) PROVIDER=$(free_port)
host=stakes.example.org public=https://stakes.example.org:$TLS
export FOLDER ROOT PATH REDIS_SERVER UV COMPILED DB CACHE SITE HTTP TLS PROVIDER host
# PostgreSQL refuses to run as root.
as_nobody=()
[ "$(id -u)" != 0 ] || as_nobody=(runuser -u nobody --)

say() { echo "--- $*"; }
fail() { # what: with the last log lines, the states of the processes, and the exit codes of those that have ended
    echo "$*" >&2
    tail -n 20 "$FOLDER"/*.log >&2
    ps -o pid,stat,etime,time,wchan:20,args -p "$(cat "$FOLDER"/pids/*.pid | paste -sd,)" >&2 || true
    grep . "$FOLDER"/pids/*.code >&2 || true
    exit 1
}
until_true() { # seconds, command …
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "not within its time: $*"
        sleep 0.5
    done
}
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; } # what, wanted, got
clean() {
    for pid in "$FOLDER"/pids/*.pid; do kill "$(cat "$pid")" 2>/dev/null || true; done
    "${as_nobody[@]}" pg_ctl -D "$FOLDER/postgres/data" -m immediate stop >/dev/null 2>&1 || true
}
trap clean EXIT

say "a machine: folders, a PostgreSQL cluster, Debian's files, a repository with two tags"
mkdir -p "$FOLDER"/{bin,pids,postgres} "$ROOT"/{srv,var/log/nginx,var/backups,etc/redis,etc/systemd/system}
chmod a+rx "$FOLDER"
[ "$(id -u)" != 0 ] || chown nobody "$FOLDER/postgres"
"${as_nobody[@]}" initdb -D "$FOLDER/postgres/data" -U postgres -A trust -E UTF8 >/dev/null
# The service's role must give its password. The superuser need not.
printf 'host all playmatatu 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n' |
    "${as_nobody[@]}" tee "$FOLDER/postgres/data/pg_hba.conf" >/dev/null
"${as_nobody[@]}" pg_ctl -D "$FOLDER/postgres/data" -w -l "$FOLDER/postgres/log" \
    -o "-p $DB -c listen_addresses=127.0.0.1 -k $FOLDER/postgres" start >/dev/null
cp -rL /etc/nginx "$ROOT/etc/nginx"
echo "daemonize no" >"$ROOT/etc/redis/redis.conf"
git config --file "$FOLDER/gitconfig" advice.detachedHead false
export GIT_CONFIG_GLOBAL=$FOLDER/gitconfig
git clone --quiet --bare "$code" "$FOLDER/repository.git"
for tag in $(grep -o 'v[0-9]\+\.[0-9]\+\.[0-9]\+' "$code/docs/production.md" | sort -u); do
    git -C "$FOLDER/repository.git" tag -f "$tag" "$(git -C "$code" rev-parse HEAD)" >/dev/null
done

program() { cat >"$FOLDER/bin/$1" && chmod +x "$FOLDER/bin/$1"; }
for name in apt-get timedatectl adduser; do echo '#!/bin/sh' | program $name; done
program sudo <<'EOF'
#!/usr/bin/env bash
user=$2
shift 2
if [ "$user" = postgres ]; then export PGHOST=127.0.0.1 PGPORT=$DB PGUSER=postgres; fi
if [ "$1" = .venv/bin/pip ] && [ -n "$UV" ]; then
    shift
    "$UV" pip "$1" --system-certs --python .venv/bin/python "${@:2}"
    # Compiling takes 4 s. uv links the same files into each environment, so the bytecode of another one is valid.
    for other in "$COMPILED" ../*/.venv; do
        [ -d "$other" ] && [ ! "$other" -ef .venv ] || continue
        (cd .venv && find . -path '*/site-packages*' -type d ! -name __pycache__ -printf '%p/__pycache__\0') |
            tar -C "$other" --null -cT - 2>/dev/null | tar -C .venv -x
    done
    exit
elif [ "$*" = "python3 -m venv .venv" ] && [ -n "$UV" ]; then
    exec "$UV" venv --quiet --python "$(command -v python3)" .venv
fi
exec "$@"
EOF
program install <<'EOF'
#!/usr/bin/env bash
arguments=()
while [ $# -gt 0 ]; do
    case $1 in -o | -g) shift ;; *) arguments+=("$1") ;; esac
    shift
done
exec /usr/bin/install "${arguments[@]}"
EOF
program certbot <<'EOF'
#!/bin/sh
folder=$ROOT/etc/letsencrypt/live/$host
mkdir -p "$folder"
exec openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$host" -addext "subjectAltName=DNS:$host" \
    -keyout "$folder/privkey.pem" -out "$folder/fullchain.pem" 2>/dev/null
EOF
# Change the configuration made by the page: use free ports and paths below FOLDER.
program nginx <<'EOF'
#!/usr/bin/env bash
set -eu
run=$FOLDER/nginx
mkdir -p "$run"
cp -rL "$ROOT/etc/nginx/." "$run"
find "$run" -name '*.conf' -o -path '*/sites-enabled/*' -type f | xargs sed -i -e "s#/etc/nginx/#$run/#" -e '/listen \[::\]/d' \
    -e "s/listen 80\b/listen 127.0.0.1:$HTTP/" -e "s/listen 443\b/listen 127.0.0.1:$TLS/" -e "s/127.0.0.1:8000/127.0.0.1:$SITE/" \
    -e "s#/var/log/nginx/#$FOLDER/nginx-#" -e "s#/etc/letsencrypt/#$ROOT/etc/letsencrypt/#" -e "s#/run/nginx.pid#$FOLDER/pids/nginx.pid#" \
    -e "s#^http {#& client_body_temp_path $run/1; proxy_temp_path $run/2; fastcgi_temp_path $run/3; uwsgi_temp_path $run/4; scgi_temp_path $run/5;#" \
    -e "s/^user .*/$([ "$(id -u)" != 0 ] || echo 'user root;')/"
exec /usr/sbin/nginx -c "$run/nginx.conf" "$@"
EOF
program systemctl <<'EOF'
#!/usr/bin/env bash
set -eu
pids=$FOLDER/pids
begin() { # name, command …: in the background; its pid and, at its end, its exit code are written down
    local name=$1
    shift
    rm -f "$pids/$name.code"
    (bash -c 'echo $$ >"$0"; exec "$@"' "$pids/$name.pid" "$@" && code=0 || code=$?; echo "$code" >"$pids/$name.code") \
        >>"$FOLDER/$name.log" 2>&1 </dev/null &
}
end() { # name: by SIGTERM; exit code 0 is wanted
    [ -e "$pids/$1.pid" ] || return 0
    kill "$(cat "$pids/$1.pid")"
    until [ -e "$pids/$1.code" ]; do sleep 0.1; done
    rm "$pids/$1.pid"
    [ "$(cat "$pids/$1.code")" = 0 ] || { echo "$1 ended with $(cat "$pids/$1.code")" >&2; exit 1; }
}
start() {
    local unit=${1%.service}
    case $unit in
    *.socket | *.timer) test -e "$ROOT/etc/systemd/system/$unit" ;;
    redis-server) begin redis-server "$REDIS_SERVER" "$ROOT/etc/redis/redis.conf" --port "$CACHE" ;;
    systemd-journald) ;;
    nginx) nginx ;;
    *)
        local file="$ROOT/etc/systemd/system/$unit.service" line command
        cd "$ROOT/srv/playmatatu/current"
        while IFS= read -r line; do case $line in [A-Z]*=*) export "${line?}" ;; esac; done <"$ROOT/etc/playmatatu/env"
        while IFS= read -r command; do
            # shellcheck disable=SC2086  # words
            case $unit in
            *-site) begin "$unit" $command -b "127.0.0.1:$SITE" ;;
            *) if grep -q '^Type=oneshot' "$file"; then $command; else begin "$unit" $command; fi ;;
            esac
        done < <(sed -n 's/^ExecStart=//p' "$file" | sed -e "s#/srv/#$ROOT/srv/#g" -e "s#/var/backups#$ROOT/var/backups#")
        ;;
    esac
}
action=$1
shift
[ "${1:-}" != --now ] || shift
for unit in "$@"; do
    case $action in
    enable | start) start "$unit" ;;
    stop) end "$unit" ;;
    restart) end "$unit" && start "$unit" ;;
    reload) if [ -s "$pids/nginx.pid" ]; then nginx -t -q && kill -HUP "$(cat "$pids/nginx.pid")"; else start nginx; fi ;;
    esac
done
EOF

at_fill_in() {
    sed -i -e "s/play\.example\.com/$host/" -e "s/127.0.0.1:5432/127.0.0.1:$DB/" -e "s/127.0.0.1:6379/127.0.0.1:$CACHE/" \
        -e "s#^SMS_SERVICE_BASE_URL=.*#SMS_SERVICE_BASE_URL=http://127.0.0.1:$PROVIDER#" \
        -e "s/^SMS_SERVICE_USERNAME=.*/SMS_SERVICE_USERNAME=operator/" -e 's/^SMS_SERVICE_PASSWORD=.*/SMS_SERVICE_PASSWORD=a$b#c/' \
        -e "s/^DMARK_PAY_USERNAME=.*/DMARK_PAY_USERNAME=operator/" -e "s/^DMARK_PAY_PASSWORD=.*/DMARK_PAY_PASSWORD=x-9152-y/" \
        -e "s/^DMARK_PAY_ACCOUNT_CODE=.*/DMARK_PAY_ACCOUNT_CODE=trial/" "$ROOT/etc/playmatatu/env"
    echo "DMARK_PAY_BASE_URL=http://127.0.0.1:$PROVIDER" >>"$ROOT/etc/playmatatu/env"
    .venv/bin/python manage.py dmark_sandbox --port "$PROVIDER" >"$FOLDER/sandbox.log" 2>&1 &
    echo $! >"$FOLDER/pids/sandbox.pid"
    until_true 60 curl -sf "http://127.0.0.1:$PROVIDER/inbox.json"
}

at_edit_nginx() { sed -i "s/play\.example\.com/$host/" "$ROOT/etc/nginx/sites-available/playmatatu"; }

ask() { curl -sS --max-time 20 --cacert "$ROOT/etc/letsencrypt/live/$host/fullchain.pem" --resolve "$host:$TLS:127.0.0.1" "$@"; }
status() { ask -o /dev/null -w '%{http_code}' "$@"; }
redirect() { curl -sS -o /dev/null -w '%{http_code} %{redirect_url}' -H "Host: $host" "http://127.0.0.1:$HTTP$1"; }
inbox() { curl -sf "http://127.0.0.1:$PROVIDER/inbox.json" | python3 -c "import json, re, sys; inbox = json.load(sys.stdin); print($1)"; }
prompt() { curl -sf "http://127.0.0.1:$PROVIDER/prompts.json" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["sp_transaction_id"])'; }
stake() {
    ask -f -H 'Content-Type: application/json' -d "{\"phone_number\": \"$1\", \"stake_amount\": 1000}" "$public/api/v1/game/stake" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["status"])'
}
links() { [ "$(inbox 'sum("Play here" in text["text"] for text in inbox)')" = "$1" ]; }
meetings=0
at_players_meet() {
    meetings=$((meetings + 1))
    until_true 60 ask -f "$public/api/v1/config"
    expect "the page" 200 "$(status "$public/")"
    expect "health from outside" 404 "$(status "$public/api/v1/health")"
    expect "metrics from outside" 404 "$(status "$public/metrics")"
    expect "the admin from a network of ours" 302 "$(status "$public/admin/")"
    expect "plain http" "301 https://$host/?match_code=ABC234" "$(redirect '/?match_code=ABC234')"
    expect "a player's link by plain http" "301 https://$host/g/x" "$(redirect '/g/x?pt=secret')"
    for phone in "077200000$((2 * meetings))" "077200000$((2 * meetings + 1))"; do
        expect "a stake" awaiting_payment "$(stake "$phone")"
        until_true 30 prompt
        curl -sf -o /dev/null -H 'Content-Type: application/json' -d '{"answer": "pay"}' "http://127.0.0.1:$PROVIDER/prompts/$(prompt)"
    done
    until_true 60 links $((2 * meetings))
    local link
    link=$(inbox 're.search(r"https://\S+pt=[^\s\"]+", json.dumps(inbox))[0]')
    expect "the link in the message" 302 "$(status "$public${link#https://"$host"}")"
}
count() { sudo -u postgres psql -tA -c 'select count(*) from sms_smsmessage' "$1"; }
at_compare_copy() { expect "messages in the copy" "$(count playmatatu)" "$(count copy)"; }

awk '/^```sh$/ { inside = 1; next } /^```/ { inside = 0 } inside
    /^## [0-9]/ { print "say \"" substr($0, 4) "\"" } /^<!-- trial: / { print "at_" $3 }' "$code/docs/production.md" |
    sed -e "s#REPOSITORY#$FOLDER/repository.git#" -e "s#127.0.0.1:8000#127.0.0.1:$SITE#" -e "s/play\.example\.com/$host/" \
        -e "s#\(^\|[ '\"(>]\)/\(etc\|srv\|var\)/#\1$ROOT/\2/#g" >"$FOLDER/page.sh"
grep -q at_compare_copy "$FOLDER/page.sh"
# shellcheck source=/dev/null
. "$FOLDER/page.sh"

say "stopping"
for unit in playmatatu-site playmatatu-sms-worker playmatatu-game-worker; do systemctl stop "$unit"; done
expect "player tokens in the logs" 0 "$(cat "$FOLDER"/*.log "$FOLDER"/nginx-* | grep -c 'pt=[^\[]' || true)"
say "all well"
