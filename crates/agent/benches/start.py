"""How soon a device answers after its program starts, and what it takes while it is idle, with a model of 5 MB.

    python3 crates/agent/benches/start.py --edgeward target/release/edgeward [--rounds 9]

Wants the whole program, since a control plane is started to give the agent its model. The perceptron (64 inputs, two layers of
1,100) learns the digits of `examples/robots` with scikit-learn, in an environment made once under `target/serving`. Then, round
after round: `edgeward serve` with the ONNX file, with the bundle, and `edgeward agent` with the model that it had. Printed are
medians and the worst of the time from exec to the first answered prediction, and the resident memory ten seconds later. It ends
with 1 if an agent is over 100 ms or 20 MiB.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from serving import MAKER, ROOT, free_port

START_MS_MAX, IDLE_MIB_MAX = 100, 20
IDLE_S = 10

TRAIN = """
import csv, os
import numpy as np
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier
rows = list(csv.reader(open(os.environ["EDGEWARD_TRAIN_DATA"])))[1:]
inputs = np.array([row[:-1] for row in rows], dtype=np.float32)
model = MLPClassifier((1100, 1100), max_iter=8, random_state=1).fit(inputs, [row[-1] for row in rows])
onnx = to_onnx(model, inputs[:1], options={"zipmap": False}, target_opset=15)
open(os.environ["EDGEWARD_MODEL_OUT"], "wb").write(onnx.SerializeToString())
"""
PROJECT = """
[project]
name = "digits"
[data]
files = ["digits.csv"]
label = "label"
[train]
run = "'{python}' train.py"
[gate]
accuracy_min = 0.8
[rollout]
waves = ["100%"]
bake = "1s"
probation = "1s"
"""


class Place:
    """A folder with a control plane, a project and an agent."""

    def __init__(self, folder, edgeward, environments):
        self.folder, self.edgeward, self.running = folder, edgeward, []
        self.server = f"http://127.0.0.1:{free_port()}"
        shutil.copy(ROOT / "examples/robots/data/digits.csv", folder)
        (folder / "train.py").write_text(TRAIN)
        (folder / "edgeward.toml").write_text(PROJECT.format(python=environments / "env-maker/bin/python"))

    def start(self, *words):
        process = subprocess.Popen([self.edgeward, *words], cwd=self.folder, env=clean(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.running.append(process)
        return process

    def run(self, *words):
        done = subprocess.run([self.edgeward, *words], cwd=self.folder, env=clean(), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"edgeward {' '.join(words)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def agent(self, port):
        return ["agent", "--server", self.server, "--data", "device", "--join-token-file", "token", "--listen", f"127.0.0.1:{port}"]

    def deploy(self):
        """The model, made and on the device; its bundle's folder."""
        self.start("server", "--data", "plane", "--listen", self.server.removeprefix("http://"))
        wait(lambda: urllib.request.urlopen(self.server, timeout=1).read(), 30)
        (self.folder / "token").write_text(self.run("device", "token", "--server", self.server))
        self.run("run", "--server", self.server, "--release-key", "plane/keys/releases.json")
        self.run("deploy", "digits", "--server", self.server)
        port = free_port()
        agent = self.start(*self.agent(port))
        wait(lambda: predict(port, "digits"), 60)
        self.end(agent)
        return next((self.folder / ".edgeward/bundles").iterdir())

    def end(self, process):
        process.terminate()
        process.wait(20)
        self.running.remove(process)

    def close(self):
        for process in list(self.running):
            self.end(process)


def clean():
    return {**{name: value for name, value in os.environ.items() if not name.startswith("EDGEWARD_")}, "NO_PROXY": "*"}


def predict(port, model):
    """One prediction; the name of its input is asked for first."""
    url = f"http://127.0.0.1:{port}/v2/models/{model}"
    if (port, model) not in predict.names:
        predict.names[port, model] = json.load(urllib.request.urlopen(url, timeout=2))["inputs"][0]["name"]
    tensor = {"name": predict.names[port, model], "shape": [1, 64], "datatype": "FP32", "data": [0] * 64}
    body = json.dumps({"inputs": [tensor]}).encode()
    return urllib.request.urlopen(urllib.request.Request(f"{url}/infer", body), timeout=2).read()


predict.names = {}


def wait(ask, seconds):
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except (OSError, urllib.error.URLError) as error:
            if time.monotonic() > until:
                raise SystemExit(f"no answer within {seconds} s: {error}")
            time.sleep(0.001)


def resident_mib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def measure(place, words, rounds, idle_s):
    """Milliseconds to the first answer of each round, and MiB of the last while idle."""
    took = []
    for turn in range(rounds):
        port = free_port()
        began = time.monotonic()
        process = place.start(*words(port))
        wait(lambda: predict(port, "digits"), 30)
        took.append((time.monotonic() - began) * 1000)
        if turn == rounds - 1:
            time.sleep(idle_s)
            idle = resident_mib(process.pid)
        place.end(process)
    return took, idle


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--edgeward", default=str(ROOT / "target/release/edgeward"))
    words.add_argument("--environments", type=pathlib.Path, default=ROOT / "target/serving")
    words.add_argument("--rounds", type=int, default=9)
    words.add_argument("--idle", type=float, default=IDLE_S)
    words = words.parse_args()
    environments = words.environments.resolve()
    environments.mkdir(parents=True, exist_ok=True)
    MAKER.prepare(environments)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(pathlib.Path(folder), str(pathlib.Path(words.edgeward).resolve()), environments)
        try:
            bundle = place.deploy()
            shutil.copy(bundle / "variants/rten-f32/model.onnx", place.folder / "digits.onnx")
            size = (bundle / "model.onnx").stat().st_size
            print(f"a model of {size / 1e6:.1f} MB, {words.rounds} starts each")
            serve = lambda what: lambda port: ["serve", str(what), "--name", "digits", "--listen", f"127.0.0.1:{port}"]
            kinds = {"serve ONNX": serve("digits.onnx"), "serve bundle": serve(bundle), "agent": place.agent}
            print(f"{'':14} {'median ms':>10} {'worst ms':>9} {'idle MiB':>9}")
            for kind, of in kinds.items():
                took, idle = measure(place, of, words.rounds, words.idle)
                median = statistics.median(took)
                print(f"{kind:14} {median:10.0f} {max(took):9.0f} {idle:9.1f}", flush=True)
            return 1 if median > START_MS_MAX or idle > IDLE_MIB_MAX else 0
        finally:
            place.close()


if __name__ == "__main__":
    sys.exit(main())
