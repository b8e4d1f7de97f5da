# Reads requests to a collector by OpenTelemetry's own protobufs, one per line of standard input, and prints their spans.
import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

for line in sys.stdin:
    request = json.loads(line)
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                # OTLP has IDs in hexadecimal; protobuf's JSON has base64.
                for member in ("traceId", "spanId", "parentSpanId"):
                    if member in span:
                        span[member] = base64.b64encode(bytes.fromhex(span[member])).decode()
    # Unknown members are an error.
    parsed = json_format.ParseDict(request, ExportTraceServiceRequest())
    for resource in parsed.resource_spans:
        for attribute in resource.resource.attributes:
            print(f"{attribute.key}={attribute.value.string_value}")
        for scope in resource.scope_spans:
            for span in scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8, span
                assert len(span.parent_span_id) in (0, 8), span
                assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
                keys = [attribute.key for attribute in span.attributes]
                assert len(set(keys)) == len(keys), keys
                print(trace_pb2.Span.SpanKind.Name(span.kind), span.name)
