#!/bin/sh
# Starts a process of the messenger. A setting may come from a file, as secrets do: NAME_FILE=/run/secrets/x sets NAME.
set -eu
for setting in DATABASE_URL REDIS_URL PGPASSWORD MESSENGER_SERVICE_SECRET; do
  eval "file=\${${setting}_FILE:-}"
  if [ -n "$file" ]; then
    value=$(cat "$file")
    export "$setting=$value"
    unset "${setting}_FILE"
  fi
done
exec "$@"
