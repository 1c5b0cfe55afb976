#!/usr/bin/env python3
"""Serves Datadog's intake for the lab: takes series and events, and checks them against the models of the official
client. Prints a line for each request. Runs where datadog-api-client is installed.

    intake.py PORT KEY [ANSWER...]

The key may be `@FILE`, which is read with each request. Each ANSWER is what the next request with the right key gets
in place of being accepted: a status such as `503`, or `429/2` with the seconds of Retry-After. With `bad=METRIC` each
request that has this metric is refused.
"""

import gzip
import http.server
import json
import pathlib
import sys
import threading

from datadog_api_client import Configuration
from datadog_api_client.model_utils import validate_and_convert_types
from datadog_api_client.v1.model.event_create_request import EventCreateRequest
from datadog_api_client.v2.model.metric_payload import MetricPayload
from datadog_api_client.v2.model.metric_series import MetricSeries

MODELS = {"/api/v2/series": MetricPayload, "/api/v1/events": EventCreateRequest}
COMPRESSED_MAX, JSON_MAX = 512_000, 5_242_880

port, key, *answers = sys.argv[1:]
key_file = pathlib.Path(key[1:]) if key.startswith("@") else None
bad = [answer.removeprefix("bad=") for answer in answers if answer.startswith("bad=")]
answers = [answer for answer in answers if not answer.startswith("bad=")]
lock = threading.Lock()


def fault(path, body, encoding):
    """Returns what is wrong with a request, and its payload."""
    if encoding == "gzip":
        if len(body) > COMPRESSED_MAX:
            return f"{len(body)} bytes compressed", None
        body = gzip.decompress(body)
    elif encoding is not None:
        return f"encoding {encoding}", None
    if len(body) > JSON_MAX:
        return f"{len(body)} bytes", None
    payload = json.loads(body)
    try:
        # Types are checked, and not converted.
        model = validate_and_convert_types(payload, (MODELS[path],), ["payload"], True, True, Configuration())
    except Exception as error:
        return f"{type(error).__name__}: {error}", payload
    # Any error leaves the whole payload unparsed, except keys that the model does not know.
    if getattr(model, "_unparsed", False):
        return "it does not fit the model", payload
    unknown = set(payload) - set(MODELS[path].openapi_types)
    for series in payload.get("series", []):
        unknown |= set(series) - set(MetricSeries.openapi_types)
    return (f"unknown keys {unknown}" if unknown else None), payload


class Intake(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with lock:
            status, after, said = self.judge(body)
        answer = json.dumps({"errors": [said] if said else []}).encode()
        self.send_response(status)
        if after:
            self.send_header("retry-after", after)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def judge(self, body):
        after, wrong, payload = None, None, None
        if self.headers["dd-api-key"] != (key_file.read_text() if key_file else key):
            status, said = 403, "Forbidden"
        elif answers:
            status, _, after = answers.pop(0).partition("/")
            status, said = int(status), "busy"
        elif self.path not in MODELS:
            status, said = 404, "Not found"
        else:
            wrong, payload = fault(self.path, body, self.headers["content-encoding"])
            if any(series["metric"] in bad for series in payload.get("series", [])):
                wrong = "a series that is not taken"
            status, said = (400, wrong) if wrong else (202, None)
        line = {"path": self.path, "status": status, "wrong": wrong, "payload": payload}
        print(json.dumps(line), flush=True)
        return status, after, said

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


print(json.dumps({"listens": int(port)}), flush=True)
Server(("127.0.0.1", int(port)), Intake).serve_forever()
