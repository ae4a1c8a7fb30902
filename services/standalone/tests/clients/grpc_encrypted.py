"""A stock gRPC client of an encrypted service, without a certificate of its own: a token is enough.

Arguments: the address of the message service, the file of the authority, an access token.
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

ADDRESS, AUTHORITY, TOKEN = sys.argv[1:]
SERVICE, METHOD = "messenger.message.v1.MessageService", "ListConversations"

credentials = grpc.ssl_channel_credentials(open(AUTHORITY, "rb").read())
channel = grpc.secure_channel(ADDRESS, credentials)
described = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindServiceByName(SERVICE).methods_by_name[METHOD]
call = channel.unary_unary(
    f"/{SERVICE}/{METHOD}",
    request_serializer=lambda message: message.SerializeToString(),
    response_deserializer=GetMessageClass(described.output_type).FromString,
)
request = GetMessageClass(described.input_type)()
(listed,) = MessageToDict(call(request, metadata=[("authorization", f"Bearer {TOKEN}")], timeout=20))["conversations"]
assert listed["lastMessage"]["content"] == "sealed", listed
for metadata in ([], [("authorization", "Bearer nonsense")], [("x-service", "gateway")]):
    try:
        call(request, metadata=metadata, timeout=20)
        raise AssertionError(f"answered {metadata}")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
