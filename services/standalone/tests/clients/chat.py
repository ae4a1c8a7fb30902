"""Two stock python-socketio clients chat over the transport named by the second argument."""

import asyncio
import sys
import uuid

import aiohttp
import socketio

URL, TRANSPORT = sys.argv[1], sys.argv[2]
MESSAGES = 60


async def register(http, name):
    body = {
        "email": f"{name}-{uuid.uuid4()}@example.com",
        "password": "correct horse battery",
        "fullName": name,
        "designation": "Tester",
    }
    async with http.post(f"{URL}/api/v1/auth/register", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


async def connect(user):
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(URL, auth={"token": user["accessToken"]}, transports=[TRANSPORT])
    return client


async def main():
    async with aiohttp.ClientSession() as http:
        ann, bob = await register(http, "ann"), await register(http, "bob")
    try:
        await connect({"accessToken": "nonsense"})
        raise AssertionError("let in with nonsense")
    except socketio.exceptions.ConnectionError:
        pass

    a, b = await connect(ann), await connect(bob)
    received, complete = [], asyncio.Event()

    @b.on("new_message")
    async def new_message(message, cursor):
        received.append(message["content"])
        if len(received) == MESSAGES:
            complete.set()

    contents = [f"{n} ✓ 😀" for n in range(MESSAGES)]
    sends = [a.call("send_message", {"receiverId": bob["user"]["id"], "content": text}) for text in contents]
    stored = await asyncio.gather(*sends)
    assert [message["content"] for message in stored] == contents
    await asyncio.wait_for(complete.wait(), 10)
    assert received == contents, received
    refused = await a.call("send_message", {"receiverId": bob["user"]["id"], "content": ""})
    assert refused["error"]["code"] == "VALIDATION_FAILED", refused
    await a.disconnect()
    await b.disconnect()


asyncio.run(asyncio.wait_for(main(), 30))
