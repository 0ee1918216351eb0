"""What a program without any library does with a served model at a socket that is a file; its path is the argument."""

import http.client
import json
import os
import socket
import stat
import sys

path = sys.argv[1]
mode = os.stat(path).st_mode
assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660, oct(mode)


class Connection(http.client.HTTPConnection):
    """HTTP over a file."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)


def ask(method, target, body=None):
    connection = Connection("localhost")
    connection.request(method, target, body and json.dumps(body), {"x-request-id": "order 7"})
    answer = connection.getresponse()
    assert answer.headers["x-request-id"] == "order 7"
    return answer.status, json.loads(answer.read())


assert ask("GET", "/v2/health/ready") == (200, {"ready": True})
status, model = ask("GET", "/v2/models/pumps")
rows = {"inputs": [{"name": model["inputs"][0]["name"], "shape": [1, 2], "datatype": "FP32", "data": [55.0, 40.0]}]}
status, answer = ask("POST", "/v2/models/pumps/infer", rows)
assert status == 200 and answer["outputs"], answer
print("all of it")
