"""What an unchanged Triton client does with a served model; the address is the argument."""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("pumps")
assert not client.is_model_ready("presses")
server = client.get_server_metadata()
assert server["name"] == "edgeward" and "binary_tensor_data" in server["extensions"], server

model = client.get_model_metadata("pumps")
name, version = model["inputs"][0]["name"], model["versions"][0]
assert model["inputs"][0]["shape"] == [-1, 2], model
outputs = {output["name"]: output["datatype"] for output in model["outputs"]}
config = client.get_model_config("pumps")
assert config["input"][0] == {"name": name, "data_type": "TYPE_FP32", "dims": [-1, 2]}, config
index = client.get_model_repository_index()
assert index == [{"name": "pumps", "version": version, "state": "READY", "reason": ""}], index

rows = np.array([[55.0, 40.0], [66.0, 92.0], [56.5, 41.0]], dtype=np.float32)


def asked(binary_in, requested, **more):
    given = triton.InferInput(name, list(rows.shape), "FP32")
    given.set_data_from_numpy(rows, binary_data=binary_in)
    return client.infer("pumps", [given], outputs=requested, **more)


scores = next(output for output, datatype in outputs.items() if datatype == "FP32")
plain = asked(False, [triton.InferRequestedOutput(scores, binary_data=False)])
assert "data" in plain.get_output(scores), plain.get_response()
expected = plain.as_numpy(scores)
assert expected.shape[0] == 3 and np.isfinite(expected).all()

both = asked(True, None, request_id="seven", model_version=version)
assert both.get_response()["id"] == "seven"
assert {output["name"] for output in both.get_response()["outputs"]} <= set(outputs)
for output in both.get_response()["outputs"]:
    assert output["parameters"]["binary_data_size"] > 0, output
np.testing.assert_array_equal(both.as_numpy(scores), expected)

every = [triton.InferRequestedOutput(output, binary_data=at % 2 == 0) for at, output in enumerate(outputs)]
mixed = asked(True, every)
np.testing.assert_allclose(mixed.as_numpy(scores), expected, rtol=1e-6)
for output in outputs:
    assert mixed.as_numpy(output).shape[0] == 3, output
assert "prediction_id" in mixed.get_response()["parameters"]

waiting = [client.async_infer("pumps", [given]) for given in [triton.InferInput(name, [3, 2], "FP32")]
           if given.set_data_from_numpy(rows) is not None]
np.testing.assert_array_equal(waiting[0].get_result().as_numpy(scores), expected)

stats = client.get_inference_statistics("pumps")["model_stats"][0]
assert stats["inference_stats"]["success"]["count"] == 4, stats
assert client.get_inference_statistics()["model_stats"] == [stats]


def refused(what, words):
    try:
        what()
    except InferenceServerException as error:
        assert words in str(error), error
        return
    raise AssertionError(f"nothing was refused where '{words}' was expected")


def narrow():
    given = triton.InferInput(name, [1, 3], "FP32")
    given.set_data_from_numpy(np.zeros((1, 3), dtype=np.float32))
    client.infer("pumps", [given])


refused(narrow, "takes")
refused(lambda: asked(True, [triton.InferRequestedOutput("nothing")]), "no output 'nothing'")
best = asked(True, [triton.InferRequestedOutput(scores, class_count=1)]).as_numpy(scores)
assert best.shape == (3, 1) and best.dtype == np.object_, best
value, index = best[0, 0].split(b":")[:2]
assert int(index) == expected[0].argmax() and np.isclose(float(value), expected[0].max(), atol=1e-6), best

for algorithm in ["gzip", "deflate"]:
    packed = asked(
        True, None, request_compression_algorithm=algorithm, response_compression_algorithm=algorithm
    )
    np.testing.assert_array_equal(packed.as_numpy(scores), expected)
many = triton.InferInput(name, [2000, 2], "FP32")
many.set_data_from_numpy(np.tile(rows, (667, 1))[:2000])
packed = client.infer("pumps", [many], request_compression_algorithm="gzip", response_compression_algorithm="gzip")
np.testing.assert_array_equal(packed.as_numpy(scores)[:3], expected)

assert client.is_model_ready("pumps", version) and not client.is_model_ready("pumps", "7")
assert client.get_model_metadata("pumps", version) == model
assert client.get_model_config("pumps", version) == config
assert client.get_inference_statistics("pumps", version)["model_stats"][0]["version"] == version
assert client.get_trace_settings()["trace_level"] == ["OFF"]
assert client.get_trace_settings("pumps") == client.get_trace_settings()
assert client.get_log_settings()["log_errors"] in (True, False)
assert client.get_system_shared_memory_status() == [] and client.get_cuda_shared_memory_status() == []
client.unregister_system_shared_memory()
client.unregister_cuda_shared_memory("frames")
refused(lambda: client.register_system_shared_memory("frames", "/frames", 64), "shared memory is not supported")
refused(lambda: client.update_trace_settings(settings={"trace_level": "TIMESTAMPS"}), "traceparent")
refused(lambda: client.update_log_settings({"log_verbose_level": 1}), "--log LEVEL")
shared = triton.InferInput(name, [3, 2], "FP32")
shared.set_shared_memory("frames", 24)
refused(lambda: client.infer("pumps", [shared]), "shared memory is not supported")
texts = triton.InferInput(name, [1, 2], "BYTES")
texts.set_data_from_numpy(np.array([["a", "b"]], dtype=np.object_))
refused(lambda: client.infer("pumps", [texts]), "takes FP32")
halves = triton.InferInput(name, [1, 2], "FP16")
halves.set_data_from_numpy(np.zeros((1, 2), dtype=np.float16))
refused(lambda: client.infer("pumps", [halves]), "FP16")

body, json_size = triton.InferenceServerClient.generate_request_body([many], outputs=None, request_id="eight")
assert json_size < len(body)
refused(lambda: asked(True, None, model_version="7"), "is not serving")
refused(lambda: client.get_model_metadata("presses"), "there is no model 'presses'")
refused(lambda: client.load_model("pumps"), "decided by the control plane")
refused(lambda: client.unload_model("pumps"), "decided by the control plane")
print("all of it")
