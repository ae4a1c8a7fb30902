# Sourced: a private PostgreSQL and Redis on free loopback ports under a temporary folder, stopped at exit.
# Sets MESSENGER_TEST_POSTGRES_URL, MESSENGER_TEST_REDIS_URL and postgres_pid. postgres_options are settings of PostgreSQL
# beside the usual ones: (-c commit_delay=5000).

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# PostgreSQL refuses to run as root. Words before a command and no function, so that `&` gives the pid of the server itself.
as_postgres=()
if [ "$(id -u)" = 0 ]; then as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups); fi
postgres_bin() { find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Installs Debian packages of which something is missing: `install_missing package=test-command ...`.
install_missing() {
  local missing=() pair
  for pair in "$@"; do bash -c "${pair#*=}" >/dev/null 2>&1 || missing+=("${pair%%=*}"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing: ${missing[*]}"
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# QUIT is PostgreSQL's immediate shutdown: its data go too. What does not stop within 10 s is ended, for nothing may keep
# the caller waiting.
stop_servers() {
  local pid
  kill -QUIT "$postgres_pid" 2>/dev/null || true
  for pid in ${server_pids[@]+"${server_pids[@]}"}; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in ${server_pids[@]+"${server_pids[@]}"}; do
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null && sleep 0.1 || break; done
    kill -KILL "$pid" 2>/dev/null && echo "server $pid did not stop and was ended" >&2 || true
  done
  rm -rf "$servers_folder"
}

start_servers() {
  install_missing 'postgresql=ls /usr/lib/postgresql/*/bin/initdb' 'redis-server=command -v redis-server' \
    'python3=command -v python3'
  servers_folder=$(mktemp -d)
  server_pids=()
  trap stop_servers EXIT
  trap 'exit 130' INT TERM
  local bin postgres_port redis_port
  bin=$(postgres_bin) postgres_port=$(free_port) redis_port=$(free_port)
  mkdir "$servers_folder/postgres"
  if [ "$(id -u)" = 0 ]; then chmod 755 "$servers_folder" && chown postgres "$servers_folder/postgres"; fi
  (cd / && ${as_postgres[@]+"${as_postgres[@]}"} "$bin/initdb" -D "$servers_folder/postgres/data" -A trust -U postgres -E UTF8 --locale=C) \
    >"$servers_folder/initdb.log"
  ${as_postgres[@]+"${as_postgres[@]}"} "$bin/postgres" -D "$servers_folder/postgres/data" -p "$postgres_port" -k "$servers_folder/postgres" \
    -c listen_addresses=127.0.0.1 -c max_connections=500 ${postgres_options[@]+"${postgres_options[@]}"} >"$servers_folder/postgres.log" 2>&1 &
  postgres_pid=$!
  redis-server --port "$redis_port" --bind 127.0.0.1 --save "" --appendonly no --dir "$servers_folder" \
    >"$servers_folder/redis.log" 2>&1 &
  server_pids+=("$postgres_pid" $!)
  for _ in $(seq 300); do
    "$bin/pg_isready" -q -h 127.0.0.1 -p "$postgres_port" && break
    sleep 0.1
  done
  "$bin/pg_isready" -q -h 127.0.0.1 -p "$postgres_port" || { cat "$servers_folder/postgres.log" >&2; exit 1; }
  export MESSENGER_TEST_POSTGRES_URL="postgres://postgres@127.0.0.1:$postgres_port/postgres"
  export MESSENGER_TEST_REDIS_URL="redis://127.0.0.1:$redis_port"
}
