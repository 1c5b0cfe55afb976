#!/usr/bin/env python3
"""Serves an OTLP receiver for the lab: decodes metrics and logs with OpenTelemetry's own protobufs, and refuses what
these do not know. Prints a line for each request. Runs where opentelemetry-proto is installed.

    otlp_receiver.py PORT TOKEN_FILE [ANSWER...]

A request needs the header `authorization: Bearer <token>`; the file is read with each one. Each ANSWER is what the next
request with the right token gets in place of being accepted: a status such as `503`, `429/2` with the seconds of
Retry-After, `partial/3` for a success without 3 of its data points, or `hang`.
"""

import gzip
import http.server
import json
import pathlib
import sys
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

SERVICES = {
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}

port, token_file, *answers = sys.argv[1:]
lock = threading.Lock()
never = threading.Event()


def decoded(path, body, headers):
    """Returns what is wrong with a request, and what the protobufs make of it."""
    if headers["content-type"] != "application/json" or headers["content-encoding"] != "gzip":
        return f"it is {headers['content-type']}, {headers['content-encoding']}", None
    request = SERVICES[path][0]()
    try:
        # Unknown fields and wrong types are errors; 64-bit integers and enumerations are as the protocol has them.
        json_format.Parse(gzip.decompress(body), request)
    except json_format.ParseError as error:
        return str(error), None
    # What the wire encoding cannot hold is none of ours.
    again = type(request).FromString(request.SerializeToString())
    return None, json_format.MessageToDict(again)


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with lock:
            status, after, answer = self.judge(body)
        if status is None:
            never.wait()
        self.send_response(status)
        if after:
            self.send_header("retry-after", after)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def judge(self, body):
        status, after, wrong, payload, rejected = 200, None, None, None, 0
        if self.headers["authorization"] != f"Bearer {pathlib.Path(token_file).read_text()}":
            status = 401
        elif answers:
            word, _, number = answers.pop(0).partition("/")
            if word == "partial":
                rejected = int(number)
            elif word == "hang":
                status = None
            else:
                status, after = int(word), number
        answer = b"{}"
        if status == 200:
            wrong, payload = decoded(self.path, body, self.headers)
            status = 400 if wrong else 200
            answer = self.answer(rejected)
        line = {"path": self.path, "status": status, "wrong": wrong, "payload": payload, "rejected": rejected}
        print(json.dumps(line), flush=True)
        return status, after, answer

    def answer(self, rejected):
        response = SERVICES[self.path][1]()
        if rejected:
            response.partial_success.rejected_data_points = rejected
            response.partial_success.error_message = "the lab rejects some"
        return json_format.MessageToJson(response).encode()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


print(json.dumps({"listens": int(port)}), flush=True)
Server(("127.0.0.1", int(port)), Receiver).serve_forever()
