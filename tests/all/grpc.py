# A gRPC server and client in Python, with a proxy between them: `python3 grpc.py SERVER PROXY`.
import queue
import sys
import time
from concurrent import futures

import grpc

server_address, proxy_address = sys.argv[1:]
asked = []


def unary(request, context):
    context.send_initial_metadata((("x-head", "1"),))
    context.set_trailing_metadata((("x-trailer", "2"),))
    return request + b"!"


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


def slow(request, context):
    time.sleep(0.5)
    return b"late"


def health(request, context):
    # HealthCheckResponse: SERVING for the service `t.T`, NOT_SERVING for all others.
    asked.append(request)
    return b"\x08\x01" if request == b"\x0a\x03t.T" else b"\x08\x02"


def both(requests, context):
    for request in requests:
        yield request * 2


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/t.T/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/t.T/Fail": grpc.unary_unary_rpc_method_handler(fail),
            "/t.T/Slow": grpc.unary_unary_rpc_method_handler(slow),
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(health),
            "/t.T/Both": grpc.stream_stream_rpc_method_handler(both),
        }.get(details.method)


server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Handler(),))
assert server.add_insecure_port(server_address)
server.start()
channel = grpc.insecure_channel(proxy_address, options=[("grpc.default_authority", "a.test")])


def code_of(method, **how):
    try:
        channel.unary_unary(method)(b"x", timeout=10, **how)
    except grpc.RpcError as error:
        return error.code(), error.details()


answer, call = channel.unary_unary("/t.T/Unary").with_call(b"hello", timeout=10)
assert answer == b"hello!", answer
assert ("x-head", "1") in call.initial_metadata(), call.initial_metadata()
assert ("x-trailer", "2") in call.trailing_metadata(), call.trailing_metadata()
large = b"x" * 3_000_000
assert channel.unary_unary("/t.T/Unary")(large, timeout=10) == large + b"!"
assert code_of("/t.T/Fail") == (grpc.StatusCode.NOT_FOUND, "no such thing")

# Each response arrives before the next request is sent.
requests = queue.Queue()
answers = channel.stream_stream("/t.T/Both")(iter(requests.get, None), timeout=10)
for word in (b"a", b"b", b"c"):
    requests.put(word)
    assert next(answers) == word * 2
requests.put(None)
assert list(answers) == []

# A deadline, enforced by the client and by the proxy.
try:
    channel.unary_unary("/t.T/Slow")(b"x", timeout=0.2)
    raise AssertionError("in time")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error

# Errors of the proxy itself.
code, details = code_of("/gone.T/X")
assert code == grpc.StatusCode.UNAVAILABLE and "connect-failed" in details, (code, details)
code, details = code_of("/other.T/X")
assert code == grpc.StatusCode.UNIMPLEMENTED and "no-route" in details, (code, details)

# Waits for several health checks of both kinds.
deadline = time.monotonic() + 10
while min(asked.count(b""), len(asked) - asked.count(b"")) < 4 and time.monotonic() < deadline:
    time.sleep(0.05)
server.stop(0)
print("all is healthy")
