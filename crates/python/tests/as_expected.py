"""What Python's users expect of the package; a bundle's folder is the argument."""

import sys
import threading

import edgeward
import numpy as np

folder = sys.argv[1]
model = edgeward.Model.open(folder)
assert repr(model).startswith("Model(") and edgeward.__version__
(spec,) = model.inputs
assert (spec.name, spec.datatype, spec.shape) == ("x", "FP32", (None, 4)), spec
assert len(model.classes) == 3 and model.outputs[-1].name == "probabilities", model.outputs

rows = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
answer = model.infer({"x": rows})
expected = answer["probabilities"]
assert expected.shape == (3, 3) and expected.dtype == np.float32 and expected.flags.writeable
assert len(answer.rows) == 3 and answer.rows[0].label in model.classes and answer.alarms == []
np.testing.assert_allclose(answer.rows[0].confidence, expected[0].max(), rtol=1e-6)
np.testing.assert_allclose(answer.rows[0].scores, expected[0], rtol=1e-6)
assert answer.latency > 0 and len(answer.id) == 36 and set(answer.outputs) == {s.name for s in model.outputs}

# However it lies in memory, and from lists; a bare array is the only input.
np.testing.assert_array_equal(model.infer(np.asfortranarray(rows))["probabilities"], expected)
np.testing.assert_array_equal(model.infer(rows[::-1])["probabilities"], expected[::-1])
np.testing.assert_array_equal(model.infer(rows.tolist())["probabilities"], expected)
locked = rows.copy()
locked.flags.writeable = False
np.testing.assert_array_equal(model.infer(locked)["probabilities"], expected)


def refused(kind, words, what, *args, **more):
    try:
        what(*args, **more)
    except edgeward.EdgewardError as error:
        assert type(error) is kind and words in str(error), (type(error), error)
        return
    raise AssertionError(f"nothing was refused where '{words}' was expected")


refused(edgeward.InvalidInput, "takes FP32", model.infer, rows.astype(np.float64))
refused(edgeward.InvalidInput, "takes", model.infer, rows[:, :3])
refused(edgeward.InvalidInput, "float16", model.infer, rows.astype(np.float16))
refused(edgeward.InvalidInput, "no array can be made of it", model.infer, [["a", "b", "c", "d"]])
refused(edgeward.InvalidInput, "texts or bytes", model.infer, np.array([[None] * 4]))
refused(edgeward.InvalidInput, "x", model.infer, {"y": rows})
refused(edgeward.InvalidInput, "", model.infer, {})
refused(edgeward.LoadFailed, "nowhere", edgeward.Model.open, folder + "/nowhere")
refused(edgeward.InvalidArgument, "name", edgeward.Model.follow, folder, "Not a name")
refused(edgeward.InvalidArgument, "follows no agent", model.pause, 1.0)
refused(edgeward.InvalidArgument, "seconds", model.wait, float("nan"))
refused(edgeward.InvalidArgument, "class's name or a number", model.label, answer, None)
for truth in [model.classes[0], 1, np.int64(1), 1.5, np.float32(1.5)]:
    assert model.label(answer, truth) is False
try:
    answer["nothing"]
except KeyError as error:
    assert "probabilities" in str(error)

why = model.explain(rows, row=1)
assert why.method == "exact" and why.features and why.output in model.classes, why
np.testing.assert_allclose(why.values.sum(), why.answer - why.base, atol=1e-6)
np.testing.assert_allclose(why.answer, expected[1].max(), rtol=1e-5)
assert not why.errors.any() and why.evaluations > 0
other = model.explain(rows, background=np.zeros((5, 4), dtype=np.float32), output=model.classes[0])
np.testing.assert_allclose(other.values.sum(), other.answer - other.base, atol=1e-6)
assert other.output == model.classes[0]
refused(edgeward.InvalidArgument, "no row 9", model.explain, rows, row=9)
refused(edgeward.InvalidArgument, "no such output", model.explain, rows, output="nothing")

# Any number of threads at once; a session outlives its model.
failures = []


def ask():
    for _ in range(200):
        if not np.array_equal(model.infer(rows)["probabilities"], expected):
            failures.append("another answer")


threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
session = model.pin()
assert session.digest == model.digest == answer.digest
with model:
    pass
refused(edgeward.NotServing, "closed", model.infer, rows)
np.testing.assert_array_equal(session.infer(rows)["probabilities"], expected)
print("all of it")
