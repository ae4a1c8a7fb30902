"""A stock gRPC client that knows no .proto file: everything comes from reflection, as with grpcurl.

Arguments: the URL of the edge, and the addresses of the auth, conversation and message services.
"""

import json
import sys
import urllib.request
import uuid

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

URL, ADDRESSES = sys.argv[1], dict(zip(("auth", "conversation", "message"), sys.argv[2:], strict=True))
DEADLINE = 20
NOBODY = str(uuid.UUID(int=7))


class Server:
    """One server, and what it says of itself."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.reflection = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.reflection)

    def services(self):
        return set(self.reflection.get_services())

    def call(self, method, request=None, token=None):
        """Calls `package.Service/Method` with a JSON object; gives JSON objects when it answers with a stream."""
        service, name = method.split("/")
        described = self.pool.FindServiceByName(service).methods_by_name[name]
        metadata = [("authorization", f"Bearer {token}")] if token else []
        kind = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        start = kind(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        message = json_format.ParseDict(request or {}, GetMessageClass(described.input_type)())
        answer = start(message, metadata=metadata, timeout=DEADLINE)
        return map(json_format.MessageToDict, answer) if described.server_streaming else json_format.MessageToDict(answer)


def register(name):
    body = {"email": f"{name}-{uuid.uuid4()}@example.com", "password": "correct horse battery", "fullName": name}
    request = urllib.request.Request(
        f"{URL}/api/v1/auth/register", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def refused(code, reason, call):
    """The call ends with this status, and with this code of the contract as ErrorInfo."""
    try:
        answer = call()
        raise AssertionError(f"answered {answer if isinstance(answer, dict) else list(answer)}")
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(details).details), error
        assert (error.code(), info.reason, info.domain) == (code, reason, "messenger"), error


def describes_itself(servers):
    for context, server in servers.items():
        service = f"messenger.{context}.v1.{context.capitalize()}Service"
        assert {service, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= server.services()
        for name in ("", service):
            assert server.call("grpc.health.v1.Health/Check", {"service": name}) == {"status": "SERVING"}, name


def chats(message, ann, bob):
    service, token = "messenger.message.v1.MessageService", bob["accessToken"]
    assert message.call(f"{service}/ListConversations", token=token) == {}

    feed = message.call(f"{service}/Subscribe", token=token)
    assert next(feed)["caughtUp"]["cursor"]
    draft = {"receiverId": bob["user"]["id"], "content": "hello ✓", "clientMessageId": "1", "metadata": '{"a": 1}'}
    sent = message.call(f"{service}/SendMessage", {"draft": draft}, ann["accessToken"])
    while "messageSent" not in (heard := next(feed))["entry"]["entry"]:
        pass
    assert heard["entry"]["entry"]["messageSent"]["message"] == sent["message"], heard
    assert message.call(f"{service}/SendMessage", {"draft": draft}, ann["accessToken"]) == {**sent, "repeated": True}

    replay = message.call(f"{service}/Subscribe", {"cursor": heard["entry"]["cursor"]}, token)
    assert "caughtUp" in next(replay), "nothing was missed"
    (listed,) = message.call(f"{service}/ListConversations", token=token)["conversations"]
    assert (listed["lastMessage"], listed["unreadCount"]) == (sent["message"], "1"), listed
    return listed["conversationId"]


def refuses(servers, conversation_id, ann, eve):
    message, service = servers["message"], "messenger.message.v1.MessageService"
    code, token, eve = grpc.StatusCode, ann["accessToken"], eve["accessToken"]
    unauthenticated = (code.UNAUTHENTICATED, "UNAUTHENTICATED")
    refused(*unauthenticated, lambda: message.call(f"{service}/ListConversations"))
    refused(*unauthenticated, lambda: message.call(f"{service}/ListConversations", token="nonsense"))
    refused(*unauthenticated, lambda: list(message.call(f"{service}/Subscribe")))
    of_others = {"conversationId": conversation_id}
    refused(code.NOT_FOUND, "NOT_FOUND", lambda: message.call(f"{service}/ListMessages", of_others, eve))
    draft = {"draft": {**of_others, "content": "may I?"}}
    refused(code.NOT_FOUND, "NOT_FOUND", lambda: message.call(f"{service}/SendMessage", draft, eve))
    get = "messenger.conversation.v1.ConversationService/GetConversation"
    refused(code.NOT_FOUND, "NOT_FOUND", lambda: servers["conversation"].call(get, of_others, eve))
    empty = {"draft": {**of_others, "content": ""}}
    refused(code.INVALID_ARGUMENT, "VALIDATION_FAILED", lambda: message.call(f"{service}/SendMessage", empty, token))
    for_services_only = [
        ("message", f"{service}/AppendChanges", {}),
        ("auth", "messenger.auth.v1.AuthService/WatchRevocations", {}),
        ("auth", "messenger.auth.v1.AuthService/Login", {"email": "a@example.com", "password": "whatever it is"}),
    ]
    for context, method, request in for_services_only:
        call = servers[context].call
        refused(code.PERMISSION_DENIED, "FORBIDDEN", lambda: as_list(call(method, request, token)))


def as_list(answer):
    return answer if isinstance(answer, dict) else list(answer)


def main():
    servers = {context: Server(address) for context, address in ADDRESSES.items()}
    describes_itself(servers)
    ann, bob, eve = register("ann"), register("bob"), register("eve")
    refuses(servers, chats(servers["message"], ann, bob), ann, eve)


main()
