#!/bin/sh
# Run once by the PostgreSQL image on an empty data folder: a role and a schema for each context. A role owns its schema
# and cannot see into the others; nobody else may connect. Passwords are secrets.
set -eu
for context in auth conversation message; do
  password=$(cat "${SECRETS:-/run/secrets}/${context}_password")
  # By variables, quoted by psql: a password may hold any character.
  psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    -v role="$context" -v password="$password" -v database="$POSTGRES_DB" <<'SQL'
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE SCHEMA :"role" AUTHORIZATION :"role";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"role";
SQL
done
