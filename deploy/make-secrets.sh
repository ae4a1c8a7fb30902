#!/bin/sh
# Makes the secrets docker-compose.yml reads, those that are missing: in deploy/secrets, or in the folder that is named.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
for name in service_secret postgres_password auth_password conversation_password message_password redis_password; do
  [ -s "$folder/$name" ] || random >"$folder/$name"
done
[ -s "$folder/redis_url" ] || printf 'redis://:%s@redis:6379' "$(cat "$folder/redis_password")" >"$folder/redis_url"
# Compose mounts them with the owner and mode they have here, and the processes that read them are not root.
chmod 755 "$folder"
chmod 644 "$folder"/*
