"""The device's endpoint beside servers in Python: the same ONNX model, one run, in turns, the same load tool.

    python3 crates/agent/benches/serving.py --edgeward target/release/edgeward [--seconds 5] [--rounds 3] [--only NAME ...]

Wants `wrk` (a Debian package of that name). Environments are made once under `target/serving`, some gigabytes of them; `--prepare`
only makes them. Every server is started, asked in each round for so many seconds by eight connections, one row of 30 numbers a
request, and ended. Printed are medians over the rounds, with the range of the requests per second, and how many times Edgeward's
requests per second each server's are. CPU is of the server's processes alone, so it holds on a machine that is busy; requests per second and p99
want a quiet one. It ends with 1 if Edgeward is under ten times MLServer, KServe or BentoML, or under five times FastAPI.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
RUNTIME = "onnxruntime==1.31.1"
FEATURES = 30
CONNECTIONS = 8
# At least so many times the requests per second of each.
ASKED = {"mlserver": 10, "kserve": 10, "bentoml": 10, "fastapi": 5}

MAKE = f"""
import sys
import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
rows = np.random.default_rng(7).standard_normal((2000, {FEATURES})).astype(np.float32)
labels = (rows[:, 0] * rows[:, 1] + rows[:, 2] > 0).astype(int) + (rows[:, 3] > 1)
model = GradientBoostingClassifier(n_estimators=50, max_depth=4, random_state=7).fit(rows, labels)
onnx = to_onnx(model, rows[:1], options={{"zipmap": False}}, target_opset=15)
open(sys.argv[1], "wb").write(onnx.SerializeToString())
"""

SESSION = """
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
outputs = [output.name for output in session.get_outputs()]
"""

FASTAPI = SESSION + """
from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
class Rows(BaseModel):
    rows: list[list[float]]
@app.post("/infer")
async def infer(body: Rows):
    answers = session.run(None, {name: np.array(body.rows, dtype=np.float32)})
    return {output: answer.tolist() for output, answer in zip(outputs, answers)}
"""

MLSERVER = SESSION + """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
class Trees(MLModel):
    async def load(self):
        return True
    async def predict(self, payload):
        answers = session.run(None, {name: NumpyCodec.decode_input(payload.inputs[0])})
        encoded = [NumpyCodec.encode_output(output, answer) for output, answer in zip(outputs, answers)]
        return InferenceResponse(model_name=self.name, outputs=encoded)
"""

KSERVE = SESSION + """
import sys
import kserve
class Trees(kserve.Model):
    def __init__(self):
        super().__init__("trees")
        self.ready = True
    async def predict(self, payload, headers=None, response_headers=None):
        answers = session.run(None, {name: payload.inputs[0].as_numpy()})
        tensors = []
        for output, answer in zip(outputs, answers):
            tensor = kserve.InferOutput(output, list(answer.shape), "FP32" if answer.dtype == np.float32 else "INT64")
            tensor.set_data_from_numpy(answer, binary_data=False)
            tensors.append(tensor)
        return kserve.InferResponse(payload.id or "1", "trees", tensors)
if __name__ == "__main__":
    kserve.ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1, access_log_format=None).start([Trees()])
"""

BENTOML = SESSION + """
import bentoml
@bentoml.service(workers=1, http={"host": "127.0.0.1"}, logging={"access": {"enabled": False}})
class Trees:
    @bentoml.api
    def infer(self, rows: list[list[float]]) -> dict:
        answers = session.run(None, {name: np.array(rows, dtype=np.float32)})
        return {output: answer.tolist() for output, answer in zip(outputs, answers)}
"""

LITSERVE = SESSION + """
import sys
import litserve
class Trees(litserve.LitAPI):
    def setup(self, device):
        pass
    def decode_request(self, request):
        return np.array(request["rows"], dtype=np.float32)
    def predict(self, rows):
        return session.run(None, {name: rows})
    def encode_response(self, answers):
        return {output: answer.tolist() for output, answer in zip(outputs, answers)}
if __name__ == "__main__":
    server = litserve.LitServer(Trees(api_path="/infer"), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False)
"""

ROW = [round(0.1 * at, 1) for at in range(FEATURES)]
PROTOCOL = {"inputs": [{"name": "X", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW}]}
PLAIN = {"rows": [ROW]}


class Contender:
    """A server: what it needs, how it starts, and what it is asked."""

    def __init__(self, name, packages, files, command, path, body):
        self.name, self.packages, self.files, self.command = name, packages, files, command
        self.path, self.body = path, body
        self.process, self.runs, self.start_s = None, [], 0.0

    def prepare(self, folder):
        if not self.packages:
            return
        environment = folder / f"env-{self.name}"
        done = environment / "complete"
        wanted = "\n".join(self.packages)
        if done.is_file() and done.read_text() == wanted:
            return
        print(f"making the environment of {self.name}", flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *self.packages], check=True)
        done.write_text(wanted)

    def start(self, folder, model):
        home = folder / f"run-{self.name}"
        home.mkdir(exist_ok=True)
        shutil.copy(model, home / "model.onnx")
        for name, text in self.files.items():
            (home / name).write_text(text)
        port = free_port()
        words = [str(word).format(env=folder / f"env-{self.name}" / "bin", port=port) for word in self.command]
        environment = {**os.environ, "NO_PROXY": "*", "BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{folder / f'env-{self.name}' / 'bin'}:{environment['PATH']}"
        for name, text in self.files.items():
            (home / name).write_text(text.replace("$PORT", str(port)).replace("$SECOND", str(free_port())).replace("$THIRD", str(free_port())))
        log = open(home / "log", "w")
        began = time.monotonic()
        self.process = subprocess.Popen(words, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True)
        self.url = f"http://127.0.0.1:{port}{self.path}"
        self.wait(home / "log")
        self.start_s = time.monotonic() - began

    def wait(self, log):
        until = time.monotonic() + 120
        while True:
            try:
                self.ask()
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{self.name} does not answer: {error}\n{log.read_text()[-3000:]}")
                time.sleep(0.05)

    def ask(self):
        body = json.dumps(self.body).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def measure(self, folder, seconds):
        script = folder / f"{self.name}.lua"
        script.write_text(
            f"wrk.method = 'POST'\nwrk.body = [==[{json.dumps(self.body)}]==]\nwrk.headers['content-type'] = 'application/json'\n"
        )
        before = cpu_s(self.process.pid)
        words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), self.url]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        used = cpu_s(self.process.pid) - before
        if "Non-2xx" in said or "Socket errors" in said:
            raise SystemExit(f"{self.name} failed requests:\n{said}")
        requests = int(re.search(r"(\d+) requests in", said)[1])
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
        self.runs.append((rate, milliseconds(re.search(r"^\s+99%\s+(\S+)", said, re.M)[1]), used / requests * 1e6, memory_mb(self.process.pid)))

    def stop(self):
        if self.process and self.process.poll() is None:
            # Only its own session: nothing else is in it.
            os.killpg(self.process.pid, 15)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, 9)

    def median(self, at):
        return statistics.median(run[at] for run in self.runs)


# What makes models.
MAKER = Contender("maker", ["scikit-learn==1.7.2", "skl2onnx==1.19.1", "onnx==1.19.1", "packaging==25.0", "protobuf==6.33.6"], {}, [], "", {})


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def family(pid):
    """A process and what it started."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    try:
        below = children.read_text().split()
    except OSError:
        return []
    return [pid] + [one for child in below for one in family(int(child))]


def cpu_s(pid):
    ticks = 0
    for one in family(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid):
    """What the processes take together, pages that they share counted once."""
    kilobytes = 0
    for one in family(pid):
        kilobytes += int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{one}/smaps_rollup").read_text(), re.M)[1])
    return kilobytes / 1024


def contenders(edgeward):
    settings = {"debug": False, "parallel_workers": 0, "http_port": "$PORT", "grpc_port": "$SECOND", "metrics_port": "$THIRD", "metrics_endpoint": None}
    settings = re.sub(r'"(\$\w+)"', r"\1", json.dumps(settings))
    model = json.dumps({"name": "trees", "implementation": "trees.Trees"})
    infer = "/v2/models/trees/infer"
    return [
        Contender("edgeward", [], {}, [edgeward, "serve", "model.onnx", "--name", "trees", "--listen", "127.0.0.1:{port}"], infer, PROTOCOL),
        Contender("fastapi", ["fastapi==0.118.0", "uvicorn[standard]==0.37.0", "numpy==2.3.5", RUNTIME], {"app.py": FASTAPI},
                  ["{env}/python", "-m", "uvicorn", "app:app", "--port", "{port}", "--log-level", "warning"], "/infer", PLAIN),
        Contender("mlserver", ["mlserver==1.7.1", RUNTIME], {"trees.py": MLSERVER, "settings.json": settings, "model-settings.json": model},
                  ["{env}/mlserver", "start", "."], infer, PROTOCOL),
        Contender("kserve", ["kserve==0.16.0", RUNTIME], {"app.py": KSERVE}, ["{env}/python", "app.py", "{port}"], infer, PROTOCOL),
        Contender("bentoml", ["bentoml==1.4.40", "numpy==2.3.5", RUNTIME], {"service.py": BENTOML},
                  ["{env}/bentoml", "serve", "service:Trees", "--port", "{port}"], "/infer", PLAIN),
        Contender("litserve", ["litserve==0.2.19", "numpy==2.3.5", RUNTIME], {"app.py": LITSERVE}, ["{env}/python", "app.py", "{port}"], "/infer", PLAIN),
    ]


def show(servers):
    ours = servers[0]
    print(f"\n{'server':10} {'requests/s':>11} {'range':>15} {'p99 ms':>8} {'CPU us/req':>11} {'MB':>6} {'start s':>8} {'rate x':>7} {'CPU x':>7}")
    missed = []
    for server in servers:
        rates = [run[0] for run in server.runs]
        ratio = ours.median(0) / server.median(0)
        span = f"{min(rates):.0f}-{max(rates):.0f}"
        print(f"{server.name:10} {server.median(0):11.0f} {span:>15} {server.median(1):8.2f} {server.median(2):11.0f} "
              f"{server.median(3):6.1f} {server.start_s:8.2f} {ratio:7.1f} {server.median(2) / ours.median(2):7.1f}")
        if ratio < ASKED.get(server.name, 0):
            missed.append(f"{server.name}: {ratio:.1f} times, {ASKED[server.name]} are asked for")
    print("\n".join(missed))
    return 1 if missed else 0


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--edgeward", default=str(ROOT / "target/release/edgeward"))
    words.add_argument("--environments", type=pathlib.Path, default=ROOT / "target/serving")
    words.add_argument("--seconds", type=int, default=5)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--only", nargs="*", help="these beside Edgeward")
    words.add_argument("--prepare", action="store_true", help="make the environments and end")
    words = words.parse_args()
    folder = words.environments.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    servers = [one for one in contenders(pathlib.Path(words.edgeward).resolve()) if words.only is None or one.name in ["edgeward", *words.only]]
    for one in [MAKER, *servers]:
        one.prepare(folder)
    if words.prepare:
        return 0
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed; it is the Debian package of that name")
    model = folder / "model.onnx"
    subprocess.run([folder / "env-maker" / "bin" / "python", "-c", MAKE, model], check=True)
    try:
        for server in servers:
            server.start(folder, model)
            server.measure(folder, 1)
        for server in servers:
            server.runs.clear()
        for turn in range(words.rounds):
            # Each in turn, the order turned round every time.
            for server in servers if turn % 2 == 0 else servers[::-1]:
                server.measure(folder, words.seconds)
        return show(servers)
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
