#!/usr/bin/env python3
"""Serves ClickHouse's HTTP interface over its engine, for the lab. Runs where chdb is installed.

Queries stand in the URL and rows in the body. The engine (PyPI's chdb) parses, stores and deduplicates both.

    clickhouse_front.py PORT FOLDER USER PASSWORD [ADDRESS]

Without an address it is there for this host alone.

PORT + 1 takes anyone and has no faults. There `/fault?<word>` sets how requests on PORT fare from then on:

    none     they are answered
    error    status 500, and nothing is done
    refuse   nobody listens, and open connections are closed
    drop     the request is done, and then the connection is closed
    slow     the request is done, and answered a second and a half later

`/password?<word>` makes that the password. `/seen` returns the number of requests on PORT by status; 0 stands for a
closed connection.
"""

import collections
import http.server
import json
import pathlib
import re
import socket
import sys
import threading
import urllib.parse

from chdb import session

# As the server has it: https://github.com/ClickHouse/ClickHouse, exceptionCodeToHTTPStatus.
STATUS = {516: 403, 192: 403, 193: 403, 194: 403, 497: 403, 46: 404, 47: 404, 60: 404, 81: 404}
STATUS |= dict.fromkeys([6, 16, 26, 27, 33, 36, 38, 41, 53, 62, 69, 70, 72, 115, 117, 131, 349], 400)
SLOW_S = 1.5

port, folder, user, password = int(sys.argv[1]), pathlib.Path(sys.argv[2]), *sys.argv[3:5]
address = sys.argv[5] if len(sys.argv) > 5 else "127.0.0.1"
folder.mkdir(parents=True, exist_ok=True)
engine = session.Session(str(folder / "data"))
turn = threading.Lock()
seen = collections.Counter()
# Set when a fault is over, so nobody waits longer.
state = {"fault": "none", "server": None, "over": threading.Event(), "password": password}


class Refused(Exception):
    """An error response with the code that the server has for it."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def execute(query, settings, body, encoding):
    """Lets the engine run a query; returns its output."""
    insert = re.fullmatch(r"(INSERT INTO .*) FORMAT (\w+)", query, re.DOTALL)
    with turn:
        if insert and body:
            rows = folder / "body"
            rows.write_bytes(body)
            given = ", ".join(f"{key} = '{value}'" for key, value in settings.items())
            compression = f" COMPRESSION '{encoding}'" if encoding else ""
            query = f"{insert[1]} FROM INFILE '{rows}'{compression}"
            query += (f" SETTINGS {given}" if given else "") + f" FORMAT {insert[2]}"
        try:
            return engine.query(query, "TabSeparated").bytes() or b""
        except Exception as error:
            code = re.search(r"Code: (\d+)\.", str(error))
            raise Refused(int(code[1]) if code else 1002, str(error)) from error


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        url = urllib.parse.urlsplit(self.path)
        settings = dict(urllib.parse.parse_qsl(url.query))
        if self.server.is_control:
            return self.control(url, settings, body)
        fault = state["fault"]
        if fault == "error":
            return self.answer(500, b"Code: 252. DB::Exception: Too many parts (3000). (TOO_MANY_PARTS)\n", 252)
        status, said, code = self.judge(settings, body)
        if fault == "slow":
            state["over"].wait(SLOW_S)
        if fault == "drop":
            seen[0] += 1
            return self.cut_off()
        self.answer(status, said, code)

    def judge(self, settings, body):
        try:
            if (self.headers["x-clickhouse-user"], self.headers["x-clickhouse-key"]) != (user, state["password"]):
                raise Refused(516, f"Code: 516. DB::Exception: {user}: Authentication failed. (AUTHENTICATION_FAILED)\n")
            query = settings.pop("query")
            return 200, execute(query, settings, body, self.headers["content-encoding"]), None
        except Refused as refused:
            return STATUS.get(refused.code, 500), str(refused).encode(), refused.code

    def control(self, url, settings, body):
        if url.path == "/seen":
            return self.answer(200, json.dumps(seen).encode(), None)
        if url.path == "/fault":
            set_fault(url.query)
            return self.answer(200, b"", None)
        if url.path == "/password":
            state["password"] = url.query
            return self.answer(200, b"", None)
        try:
            said, status = execute(body.decode(), settings, b"", None), 200
        except Refused as refused:
            said, status = str(refused).encode(), 400
        self.answer(status, said, None)

    def answer(self, status, said, code):
        if not self.server.is_control:
            seen[status] += 1
        self.send_response(status)
        if code:
            self.send_header("x-clickhouse-exception-code", str(code))
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def cut_off(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port, is_control):
        self.is_control = is_control
        self.open = set()
        super().__init__((address, port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_):
        """A closed connection gets no answer."""

    def end(self):
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def set_fault(word):
    state["fault"] = word
    state["over"].set()
    state["over"] = threading.Event()
    if word == "refuse":
        state["server"].end()
        state["server"] = None
    elif state["server"] is None:
        state["server"] = Server(port, False)


set_fault("none")
control = Server(port + 1, True)
print(json.dumps({"listens": port}), flush=True)
threading.Event().wait()
