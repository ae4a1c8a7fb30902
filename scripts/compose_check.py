"""The second half of compose-check: starts what docker-compose.yml names, and uses it through the balancer."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import yaml

BINARIES = os.path.abspath(sys.argv[1])
SECRETS, NGINX = os.environ["SECRETS"], os.environ["NGINX_FOLDER"]
PARTS = ["auth", "conversation", "message-a", "message-b", "gateway-a", "gateway-b"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


PORTS = {part: (free_port(), free_port()) for part in PARTS}
ADDRESSES = {part: f"127.0.0.1:{listen}" for part, (listen, _) in PORTS.items()}
BALANCER = free_port()


def here(text, part, mounts):
    """A setting of a container as it is on this machine."""
    listen, metrics = PORTS[part]
    messages = ",".join("https://" + ADDRESSES[name] for name in ("message-a", "message-b"))
    for there, local in [
        *mounts,
        ("https://message:50050", messages),
        ("https://auth:50050", "https://" + ADDRESSES["auth"]),
        ("https://conversation:50050", "https://" + ADDRESSES["conversation"]),
        ("0.0.0.0:50050", f"127.0.0.1:{listen}"),
        ("0.0.0.0:8080", f"127.0.0.1:{listen}"),
        ("0.0.0.0:9090", f"127.0.0.1:{metrics}"),
        ("@postgres/", f"@{os.environ['POSTGRES_ADDRESS']}/"),
        ("/run/secrets", SECRETS),
        ("10.0.0.0/8", "127.0.0.0/8"),
    ]:
        text = text.replace(there, local)
    return re.sub(r"\$\{\w+:-\}", "", text)


def start(part, service):
    mounts = [volume.split(":")[1::-1] for volume in service["volumes"]]
    mounts = [(there, local.replace("./deploy/secrets", SECRETS)) for there, local in mounts]
    environment = {name: here(str(value), part, mounts) for name, value in service["environment"].items()}
    environment["PATH"] = f"{BINARIES}:{os.environ['PATH']}"
    log = open(os.path.join(NGINX, part + ".log"), "w")
    return subprocess.Popen(["deploy/entrypoint.sh", *service["command"]], env=environment, stdout=log, stderr=log)


def wait_ready(part, service, process):
    """By the health check of the container."""
    port = {"8080": PORTS[part][0], "9090": PORTS[part][1]}[service["healthcheck"]["test"][2]]
    for _ in range(150):
        assert process.poll() is None, open(os.path.join(NGINX, part + ".log")).read()
        check = subprocess.run(["deploy/ready.sh", str(port)], stderr=subprocess.DEVNULL)
        if check.returncode == 0:
            return
        time.sleep(0.2)
    sys.exit(f"{part} is not ready:\n" + open(os.path.join(NGINX, part + ".log")).read())


def start_balancer():
    rules = open("deploy/nginx.conf").read()
    for part in ("gateway-a", "gateway-b"):
        rules = rules.replace(f"server {part}:8080", f"server {ADDRESSES[part]}")
    rules = rules.replace("listen 8080", f"listen 127.0.0.1:{BALANCER}").replace("/tmp/nginx", NGINX + "/nginx")
    rules = rules.replace("/dev/stdout", NGINX + "/access.log").replace("/dev/stderr", NGINX + "/error.log")
    path = os.path.join(NGINX, "nginx.conf")
    open(path, "w").write(rules)
    return subprocess.Popen(["nginx", "-c", path, "-e", NGINX + "/error.log", "-g", "daemon off;"])


def call(path, body=None, token=None, kind="application/json"):
    request = urllib.request.Request(f"http://127.0.0.1:{BALANCER}{path}", data=body)
    if body is not None:
        request.add_header("content-type", kind)
    if token:
        request.add_header("authorization", "Bearer " + token)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def register(name):
    user = {"email": f"{name}-{time.time_ns()}@example.com", "password": "correct horse", "fullName": name, "designation": "Tester"}
    answer = json.loads(call("/api/v1/auth/register", json.dumps(user).encode()))
    return answer["user"]["id"], answer["accessToken"]


class Polling:
    """A Socket.IO client that only ever polls: each request is a connection of its own."""

    def __init__(self, token):
        path = "/socket.io/?EIO=4&transport=polling"
        self.sid = json.loads(call(path)[1:])["sid"]
        self.path = f"{path}&sid={self.sid}"
        self.packets = []
        self.send("40" + json.dumps({"token": token}))
        answer = self.next()
        assert answer.startswith("40{"), f"{self.sid}: {answer}"

    def close(self):
        self.send("1")

    def send(self, packet):
        assert call(self.path, packet.encode(), kind="text/plain") == "ok"

    def next(self):
        while not self.packets:
            self.packets = [packet for packet in call(self.path).split("\x1e") if packet != "2"]
        return self.packets.pop(0)


def use():
    (ann, ann_token), (bob, bob_token) = register("ann"), register("bob")
    clients = [Polling(bob_token) for _ in range(8)]
    names = {client.sid.split(".")[0] for client in clients}
    assert names == {"a", "b"}, names
    sender = Polling(ann_token)
    for n in range(5):
        sender.send("42" + json.dumps(["send_message", {"receiverId": bob, "content": str(n)}]))
    for client in clients:
        heard = []
        while len(heard) < 5:
            event = json.loads(client.next()[2:])
            if event[0] == "new_message":
                heard.append(event[1]["content"])
        assert heard == [str(n) for n in range(5)], heard
    print(f"long polls through the balancer: {len(clients)} clients on gateways {sorted(names)} heard everything, in order")
    try:
        call("/socket.io/?EIO=4&transport=polling&sid=a.unknown")
        sys.exit("an unknown session was served")
    except urllib.error.HTTPError as refusal:
        assert refusal.code == 400 and "hint" in json.loads(refusal.read())
    return bob_token


def leave(processes, token):
    """A gateway ends while clients go on coming: none of them is refused."""
    processes["gateway-a"].send_signal(signal.SIGTERM)
    opened = 0
    while processes["gateway-a"].poll() is None:
        call("/readyz")
        Polling(token).close()
        opened += 1
        call("/api/v1/users/me", token=token)
        time.sleep(0.1)
    assert processes.pop("gateway-a").returncode == 0
    Polling(token)
    print(f"gateway a left: {opened} clients came meanwhile, none was refused")


def isolated():
    """No role can look into the tables of another."""
    for role, table in [("auth", "message.message"), ("message", "conversation.participant"), ("conversation", "auth.users")]:
        schema = table.split(".")[0]
        password = open(os.path.join(SECRETS, role + "_password")).read()
        address = os.environ["POSTGRES_ADDRESS"].split(":")
        look = subprocess.run(
            ["psql", "-h", address[0], "-p", address[1], "-U", role, "messenger", "-c", f"SELECT * FROM {table} LIMIT 1"],
            env={**os.environ, "PGPASSWORD": password}, capture_output=True, text=True,
        )
        assert f"permission denied for schema {schema}" in look.stderr, look.stderr
    print("each PostgreSQL role is kept out of the other schemas")


def main():
    services = yaml.safe_load(open("docker-compose.yml"))["services"]
    url = os.path.join(SECRETS, "redis_url")
    there = open(url).read()
    open(url, "w").write(there.replace("redis:6379", os.environ["REDIS_ADDRESS"]))
    processes = {}
    try:
        for part in PARTS:
            for before in services[part]["depends_on"]:
                assert before in processes or before in ("postgres", "redis"), f"{part} starts before {before}"
            processes[part] = start(part, services[part])
            wait_ready(part, services[part], processes[part])
        processes["balancer"] = start_balancer()
        for _ in range(50):
            try:
                call("/readyz")
                break
            except OSError:
                time.sleep(0.1)
        print("started in order, all are ready by their health checks")
        isolated()
        token = use()
        leave(processes, token)
    finally:
        for process in reversed(list(processes.values())):
            process.terminate()
        for process in processes.values():
            process.wait(20)


main()
