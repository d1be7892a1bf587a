"""kubelet's gRPC messages: our own .proto files (same packages and field numbers) and what protoc makes of them.

Sources: kubelet/pkg/apis/{pluginregistration/v1,dra/v1,dra/v1beta1}/api.proto, grpc/health/v1/health.proto.
`tests/unit/test_proto.py` has the command that makes the `_pb2` files and sees to it that they agree.
"""
