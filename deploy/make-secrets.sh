#!/bin/sh
# Makes the secrets docker-compose.yml reads, those that are missing: in deploy/secrets, or in the folder that is named.
# Certificates are made by the messenger itself: the program $MESSENGER, or the image (docker compose build). RENEW=1 makes
# those of the services anew; they are taken over without a restart.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
for name in service_secret postgres_password auth_password conversation_password message_password redis_password; do
  [ -s "$folder/$name" ] || random >"$folder/$name"
done
[ -s "$folder/redis_url" ] || printf 'redis://:%s@redis:6379' "$(cat "$folder/redis_password")" >"$folder/redis_url"

certs() {
  if [ -n "${MESSENGER:-}" ]; then "$MESSENGER" certs "$@" --folder "$folder/certificates"; else
    docker run --rm --user "$(id -u):$(id -g)" -v "$folder:/secrets" messenger messenger certs "$@" --folder /secrets/certificates
  fi >/dev/null
}
[ -s "$folder/certificates/ca/ca.key" ] || certs ca
for name in auth conversation message gateway; do
  if [ -n "${RENEW:-}" ] || [ ! -s "$folder/certificates/$name/tls.crt" ]; then certs issue "$name"; fi
done

# Compose mounts them with the owner and mode they have here, and the processes that read them are not root. The key of
# the authority is for nobody but who runs this, and no other user of this machine gets past the folder.
find "$folder" -mindepth 1 -type d -exec chmod 755 {} +
find "$folder" -type f ! -name ca.key -exec chmod 644 {} +
chmod 700 "$folder"
