"""What Triton's unchanged gRPC client does with a served model; the addresses, of a network and a file, are the arguments."""

import asyncio
import queue
import sys

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as aio
from tritonclient.utils import InferenceServerException

address, socket = sys.argv[1:3]
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("pumps")
assert not client.is_model_ready("presses") and not client.is_model_ready("pumps", "7")
server = client.get_server_metadata()
assert server.name == "edgeward" and "classification" in server.extensions, server
assert client.get_server_metadata(as_json=True)["name"] == "edgeward"

model = client.get_model_metadata("pumps")
name, version = model.inputs[0].name, model.versions[0]
assert list(model.inputs[0].shape) == [-1, 2] and model.inputs[0].datatype == "FP32", model
assert client.is_model_ready("pumps", version)
outputs = {output.name: output.datatype for output in model.outputs}
scores = next(output for output, datatype in outputs.items() if datatype == "FP32")
config = client.get_model_config("pumps").config
assert (config.input[0].name, list(config.input[0].dims)) == (name, [-1, 2]), config
as_json = client.get_model_config("pumps", version, as_json=True)["config"]
assert as_json["input"][0]["data_type"] == "TYPE_FP32" and as_json["backend"] == "edgeward", as_json
index = client.get_model_repository_index().models
assert [(entry.name, entry.version, entry.state) for entry in index] == [("pumps", version, "READY")], index

rows = np.array([[55.0, 40.0], [66.0, 92.0], [56.5, 41.0]], dtype=np.float32)


def given(values=rows, datatype="FP32"):
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return [tensor]


answer = client.infer("pumps", given(), request_id="seven", model_version=version)
expected = answer.as_numpy(scores)
assert expected.shape[0] == 3 and np.isfinite(expected).all()
response = answer.get_response()
assert (response.id, response.model_version) == ("seven", version), response
assert "prediction_id" in response.parameters, response
for output in outputs:
    assert answer.as_numpy(output).shape[0] == 3, output
only = client.infer("pumps", given(), outputs=[triton.InferRequestedOutput(scores)])
assert [output.name for output in only.get_response().outputs] == [scores]
np.testing.assert_array_equal(only.as_numpy(scores), expected)
best = client.infer("pumps", given(), outputs=[triton.InferRequestedOutput(scores, class_count=1)])
assert int(best.as_numpy(scores)[0, 0].split(b":")[1]) == expected[0].argmax()
for algorithm in ["gzip", "deflate"]:
    packed = client.infer("pumps", given(np.tile(rows, (600, 1))), compression_algorithm=algorithm)
    np.testing.assert_array_equal(packed.as_numpy(scores)[:3], expected)

said = queue.Queue()
client.async_infer("pumps", given(), callback=lambda result, error: said.put((result, error)))
result, error = said.get(timeout=20)
assert error is None, error
np.testing.assert_array_equal(result.as_numpy(scores), expected)
timed = client.infer("pumps", given(), client_timeout=20)
np.testing.assert_array_equal(timed.as_numpy(scores), expected)

client.start_stream(callback=lambda result, error: said.put((result, error)))
client.async_stream_infer("pumps", given(), request_id="a", enable_empty_final_response=True)
client.async_stream_infer("pumps", given(np.zeros((1, 3), dtype=np.float32)), request_id="b")
client.async_stream_infer("pumps", given(), request_id="c")
streamed = [said.get(timeout=20) for _ in range(3)]
client.stop_stream()
assert [error is None for _, error in streamed] == [True, False, True], streamed
assert "takes" in str(streamed[1][1]), streamed
assert streamed[0][0].get_response().parameters["triton_final_response"].bool_param
assert [streamed[at][0].get_response().id for at in (0, 2)] == ["a", "c"]

stats = client.get_inference_statistics("pumps").model_stats[0]
assert stats.inference_count == stats.inference_stats.success.count == 9, stats
assert stats.last_inference > 0 and stats.inference_stats.compute_infer.ns > 0, stats
assert client.get_inference_statistics().model_stats[0] == stats


def refused(what, words, code):
    try:
        what()
    except InferenceServerException as error:
        assert words in error.message() and error.status() == f"StatusCode.{code}", error
        return
    raise AssertionError(f"nothing was refused where '{words}' was expected")


def infer(*args, **more):
    return lambda: client.infer(*args, **more)


refused(infer("pumps", given(np.zeros((1, 3), dtype=np.float32))), "takes", "INVALID_ARGUMENT")
refused(infer("pumps", given(rows.astype(np.float64), "FP64")), "takes FP32", "INVALID_ARGUMENT")
refused(infer("pumps", given(rows.astype(np.float16), "FP16")), "FP16", "INVALID_ARGUMENT")
texts = given(np.array([["a", "b"]], dtype=np.object_), "BYTES")
refused(infer("pumps", texts), "takes FP32", "INVALID_ARGUMENT")
refused(infer("presses", given()), "there is no model 'presses'", "NOT_FOUND")
refused(infer("pumps", given(), model_version="7"), "is not serving", "NOT_FOUND")
nothing = [triton.InferRequestedOutput("nothing")]
refused(infer("pumps", given(), outputs=nothing), "no output 'nothing'", "INVALID_ARGUMENT")
large = given(np.zeros((2_000_000, 2), dtype=np.float32))
refused(infer("pumps", large), "8388608", "OUT_OF_RANGE")
refused(infer("pumps", large, compression_algorithm="gzip"), "8388608", "RESOURCE_EXHAUSTED")
shared = triton.InferInput(name, [3, 2], "FP32")
shared.set_shared_memory("frames", 24)
refused(infer("pumps", [shared]), "shared memory is not supported", "INVALID_ARGUMENT")
refused(lambda: client.get_model_metadata("presses"), "there is no model 'presses'", "NOT_FOUND")
refused(lambda: client.load_model("pumps"), "the control plane", "UNIMPLEMENTED")
refused(lambda: client.unload_model("pumps"), "the control plane", "UNIMPLEMENTED")
refused(lambda: client.register_system_shared_memory("frames", "/frames", 64), "shared memory", "UNIMPLEMENTED")
refused(lambda: client.update_log_settings({"log_verbose_level": 1}), "--log LEVEL", "UNIMPLEMENTED")
refused(lambda: client.update_trace_settings(settings={"trace_level": "OFF"}), "traceparent", "UNIMPLEMENTED")
assert client.get_trace_settings().settings["trace_level"].value[0] == "OFF"
assert not client.get_log_settings().settings["log_file"].string_param
assert not client.get_system_shared_memory_status().regions
assert not client.get_cuda_shared_memory_status().regions
client.unregister_system_shared_memory()
client.unregister_cuda_shared_memory("frames")


async def with_asyncio():
    async with aio.InferenceServerClient(address) as client:
        assert await client.is_server_live() and await client.is_model_ready("pumps")
        answers = await asyncio.gather(*(client.infer("pumps", given()) for _ in range(20)))
        for answer in answers:
            np.testing.assert_array_equal(answer.as_numpy(scores), expected)

        async def requests():
            for at in range(3):
                yield {"model_name": "pumps", "inputs": given(), "request_id": str(at)}

        ids = [result.get_response().id async for result, error in client.stream_infer(requests()) if not error]
        assert ids == ["0", "1", "2"], ids


asyncio.run(with_asyncio())

# The same over a socket that is a file, and what comes back beside the answer.
# gRPC's own library names the socket's path as the host otherwise, which is none.
local = triton.InferenceServerClient(socket, channel_args=[("grpc.default_authority", "localhost")])
np.testing.assert_array_equal(local.infer("pumps", given()).as_numpy(scores), expected)
channel = grpc.insecure_channel(address)
live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
said, call = live.with_call(b"", metadata=[("traceparent", trace), ("x-request-id", "order 7")])
headers = dict(call.initial_metadata())
assert said == b"\x08\x01" and headers["traceresponse"].startswith(trace[:36]), headers
assert headers["x-request-id"] == "order 7", headers
health = channel.unary_unary("/grpc.health.v1.Health/Check")
assert health(b"") == b"\x08\x01"
try:
    channel.unary_unary("/inference.GRPCInferenceService/Nonsense")(b"")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
print("all of it")
