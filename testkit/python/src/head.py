"""A Ray head on loopback, until standard input ends: so it ends with the test, however that ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

PATIENCE_S = 180


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def members(folder):
    """Ray's processes of this head: each names its folder."""
    mark = folder.encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as line:
                    if mark in line.read():
                        yield int(entry)
            except OSError:
                pass


def main():
    # Short: the paths of Ray's sockets have a limit.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    gcs, dashboard, agent, grpc, client, metrics = free_ports(6)
    environment = dict(
        os.environ,
        RAY_USAGE_STATS_ENABLED="0",
        RAY_memory_monitor_refresh_ms="0",
        RAY_DISABLE_DOCKER_CPU_WARNING="1",
        PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""),
    )
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        "--node-ip-address=127.0.0.1", f"--port={gcs}", "--include-dashboard=true", "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        f"--dashboard-agent-grpc-port={grpc}", f"--ray-client-server-port={client}",
        f"--metrics-export-port={metrics}", "--min-worker-port=0", "--max-worker-port=0",
        "--num-cpus=4", "--object-store-memory=80000000", "--disable-usage-stats", f"--temp-dir={folder}",
    ]
    log = open(os.path.join(folder, "start.log"), "wb")
    head = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    ended = threading.Event()

    def watch():
        while sys.stdin.buffer.read(4096):
            pass
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    address = f"http://127.0.0.1:{dashboard}"
    until = time.monotonic() + PATIENCE_S
    ready = False
    while not (ready or ended.is_set()) and head.poll() is None and time.monotonic() < until:
        try:
            # The list of jobs comes from the part that takes them.
            with urllib.request.urlopen(f"{address}/api/jobs/", timeout=5) as answer:
                ready = answer.status == 200
        except OSError:
            time.sleep(0.2)
    if ready:
        print(address, flush=True)
        while not ended.wait(1) and head.poll() is None:
            pass
    else:
        with open(log.name, errors="replace") as said:
            print("no Ray head:", said.read()[-2000:], file=sys.stderr, flush=True)
    head.send_signal(signal.SIGTERM)
    try:
        head.wait(20)
    except subprocess.TimeoutExpired:
        head.kill()
    for process in members(folder):
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:
            pass
    shutil.rmtree(folder, ignore_errors=True)


main()
