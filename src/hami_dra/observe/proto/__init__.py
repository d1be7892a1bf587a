"""kubelet's PodResources messages: our own .proto file (same package and field numbers) and what protoc makes of it.

Source: kubelet/pkg/apis/podresources/v1/api.proto. `tests/unit/test_proto.py` sees to it that both agree.
"""
