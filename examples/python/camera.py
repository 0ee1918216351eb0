"""A camera's loop: frames come at their own pace, the newest is looked at, and the model changes while it runs.

    camera.py AGENT_DATA MODEL [--frames N] [--per-second N] [--source FOLDER]

It follows MODEL of the agent whose data folder is AGENT_DATA. A frame that comes while the model is busy replaces the one
that waits, so what is looked at is never old. Frames are .npy files in FOLDER, in order and over again, or, without a
camera, noise of the size that the model takes. Each time another model takes over it says so.
"""

import argparse
import itertools
import pathlib
import threading
import time

import edgeward
import numpy as np


class Camera(threading.Thread):
    """Holds the newest frame; the one before is dropped if nobody took it."""

    def __init__(self, frames, per_second):
        super().__init__(daemon=True)
        self.frames, self.pause = frames, 1 / per_second
        self.newest, self.ended, self.dropped = None, False, 0
        self.changed = threading.Condition()

    def run(self):
        for frame in self.frames:
            with self.changed:
                self.dropped += self.newest is not None
                self.newest = frame
                self.changed.notify()
            time.sleep(self.pause)
        with self.changed:
            self.ended = True
            self.changed.notify()

    def __iter__(self):
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.newest is not None or self.ended)
                frame, self.newest = self.newest, None
            if frame is None:
                return
            yield frame


def frames(spec, count, folder):
    """Frames of one row, as the model takes them."""
    shape = [size or 1 for size in spec.shape]
    if folder:
        files = sorted(pathlib.Path(folder).glob("*.npy"))
        for file in itertools.islice(itertools.cycle(files), count):
            yield np.load(file).astype(np.float32).reshape(shape)
    else:
        noise = np.random.default_rng(7)
        for _ in range(count):
            yield noise.standard_normal(shape).astype(np.float32)


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("agent_data")
    words.add_argument("model")
    words.add_argument("--frames", type=int, default=300)
    words.add_argument("--per-second", type=float, default=30)
    words.add_argument("--source")
    words = words.parse_args()
    with edgeward.Model.follow(words.agent_data, words.model) as model:
        model.wait(timeout=60)
        camera = Camera(frames(model.inputs[0], words.frames, words.source), words.per_second)
        camera.start()
        looked, serving, slowest = 0, None, 0.0
        for frame in camera:
            answer = model.infer(frame)
            looked, slowest = looked + 1, max(slowest, answer.latency)
            if answer.digest != serving:
                serving = answer.digest
                print(f"serving {serving}", flush=True)
            for alarm in answer.alarms:
                print(f"alarm {alarm}", flush=True)
        generation = model.generation
    print(f"looked at {looked} dropped {camera.dropped} models {generation} slowest {slowest * 1000:.1f} ms")


if __name__ == "__main__":
    main()
