/* Edgeward: models inside an app, from C. Made by cbindgen from crates/cabi; do not edit.
 * Any thread may call anything; an object is freed once, when no thread uses it any more. */

#ifndef EDGEWARD_H
#define EDGEWARD_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// Version of this interface: it rises when a program that was compiled with an earlier header would break.
#define EDGEWARD_ABI_VERSION 1

// Bytes of a digest as text: 64 hexadecimal digits and a zero.
#define EDGEWARD_DIGEST_SIZE 65

// A size in a declared shape that may be anything.
#define EDGEWARD_ANY_SIZE -1

// How a call ended.
typedef enum EdgewardStatus {
  // It did what it should.
  EDGEWARD_STATUS_OK = 0,
  // An argument is null, not UTF-8 or out of range.
  EDGEWARD_STATUS_INVALID_ARGUMENT = 1,
  // A model cannot be loaded: missing, damaged, or nothing here runs it.
  EDGEWARD_STATUS_LOAD_FAILED = 2,
  // No model serves yet.
  EDGEWARD_STATUS_NOT_SERVING = 3,
  // The tensors are not what the model takes.
  EDGEWARD_STATUS_INVALID_INPUT = 4,
  // The model failed.
  EDGEWARD_STATUS_MODEL_FAILED = 5,
  // The agent's files or the app's own cannot be read or written.
  EDGEWARD_STATUS_FILES_FAILED = 6,
  // The time was over before it happened.
  EDGEWARD_STATUS_TIMED_OUT = 7,
  // A fault of this library, contained. Please report it.
  EDGEWARD_STATUS_INTERNAL = 8,
} EdgewardStatus;

// The type of a tensor's elements, with the names of the Open Inference Protocol.
typedef enum EdgewardDataType {
  // 32-bit floats.
  EDGEWARD_DATA_TYPE_FP32 = 1,
  // 64-bit floats.
  EDGEWARD_DATA_TYPE_FP64 = 2,
  // 64-bit signed integers.
  EDGEWARD_DATA_TYPE_INT64 = 3,
  // 32-bit signed integers.
  EDGEWARD_DATA_TYPE_INT32 = 4,
  // Bytes.
  EDGEWARD_DATA_TYPE_UINT8 = 5,
  // Signed bytes.
  EDGEWARD_DATA_TYPE_INT8 = 6,
  // One byte each, 0 or 1.
  EDGEWARD_DATA_TYPE_BOOL = 7,
  // Byte strings, each after its length as four bytes, the lowest first.
  EDGEWARD_DATA_TYPE_BYTES = 8,
} EdgewardDataType;

// One answer.
typedef struct EdgewardAnswer EdgewardAnswer;

// Follows what the agent activates.
typedef struct EdgewardFollower EdgewardFollower;

// A place that an app asks. Any number of threads may use one at once.
typedef struct EdgewardModel EdgewardModel;

// One model, pinned: it stays the same and in memory until this is freed, whatever is activated meanwhile.
typedef struct EdgewardSession EdgewardSession;

// A tensor: as an input the caller's, as an output the library's.
typedef struct EdgewardTensor {
  // Its name, UTF-8. An input without a name (null) is taken for the one in its place.
  const char *name;
  // Its elements' type: one of `EdgewardDataType`.
  uint32_t datatype;
  // Number of dimensions.
  size_t rank;
  // The size of each.
  const int64_t *shape;
  // The elements, row after row, in this machine's byte order.
  const void *data;
  // Their length in bytes.
  size_t size_bytes;
} EdgewardTensor;

// What a model said about one row.
typedef struct EdgewardRow {
  // Index of the predicted class; -1 if none.
  int64_t predicted;
  // Its name, UTF-8; null if it has none.
  const char *label;
  // Its probability; NaN if the model gives none.
  float confidence;
  // The result of a regression; NaN if it is none.
  float value;
} EdgewardRow;

// A new activation. The texts stand until the callback returns.
typedef struct EdgewardActivation {
  // The bundle's folder, which holds `model.onnx` and the like.
  const char *folder;
  // The bundle's digest, 64 hexadecimal digits.
  const char *digest;
  // Rises with every activation on this device, going back to an earlier bundle included.
  uint64_t sequence;
} EdgewardActivation;

// Told of an activation, on a thread of the library's. It returns 0 once the app serves it; anything else tells the agent
// that the app cannot, and the agent takes the bundle back.
typedef int (*EdgewardOnActivation)(void *context, const struct EdgewardActivation *activation);

// How to load models. Fill it with `edgeward_options_default`, then change what is to be different.
typedef struct EdgewardOptions {
  // Size of this struct in bytes, by which the library knows its version.
  size_t size;
  // Threads for one request; 0 lets the engine choose.
  uint32_t threads;
  // Path of ONNX Runtime's shared library, UTF-8; null for the embedded engine alone.
  const char *onnxruntime;
  // ONNX Runtime's execution providers with commas between them, such as `qnn,cpu`; null for `cpu`.
  const char *providers;
} EdgewardOptions;

// What an input or output looks like.
typedef struct EdgewardTensorSpec {
  // Its name, UTF-8.
  const char *name;
  // Its elements' type: one of `EdgewardDataType`.
  uint32_t datatype;
  // Number of dimensions.
  size_t rank;
  // The size of each; `EDGEWARD_ANY_SIZE` where any will do.
  const int64_t *shape;
} EdgewardTensorSpec;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the interface that this library has. Compare it with `EDGEWARD_ABI_VERSION` before anything else.
uint32_t edgeward_abi_version(void);

// How many outputs there are; 0 for null.
//
// # Safety
// `answer` is null or was given by this library and not freed.
size_t edgeward_answer_output_count(const struct EdgewardAnswer *answer);

// Output number `index`, from 0, in the model's order. The pointers in `*output` stand until the answer is freed.
//
// # Safety
// `answer` is null or was given by this library and not freed; `output` is null or has room for one.
enum EdgewardStatus edgeward_answer_output(const struct EdgewardAnswer *answer,
                                           size_t index,
                                           struct EdgewardTensor *output);

// How many rows the outputs mean something for; 0 if the model's signature does not say what they mean, and for null.
//
// # Safety
// `answer` is null or was given by this library and not freed.
size_t edgeward_answer_row_count(const struct EdgewardAnswer *answer);

// What was said about row number `index`, from 0. The label stands until the answer is freed.
//
// # Safety
// `answer` is null or was given by this library and not freed; `row` is null or has room for one.
enum EdgewardStatus edgeward_answer_row(const struct EdgewardAnswer *answer, size_t index, struct EdgewardRow *row);

// How many alarms the model's monitor raised for this request; 0 while all is well, and for null.
//
// # Safety
// `answer` is null or was given by this library and not freed.
size_t edgeward_answer_alarm_count(const struct EdgewardAnswer *answer);

// Alarm number `index`, from 0, in a sentence; null if there is none. It stands until the answer is freed.
//
// # Safety
// `answer` is null or was given by this library and not freed.
const char *edgeward_answer_alarm(const struct EdgewardAnswer *answer, size_t index);

// The answer's id, a UUID as text; null for null. It stands until the answer is freed.
//
// # Safety
// `answer` is null or was given by this library and not freed.
const char *edgeward_answer_id(const struct EdgewardAnswer *answer);

// The digest of the bundle that answered, as text with a zero at its end.
//
// # Safety
// `answer` is null or was given by this library and not freed; `text` is null or has room for `EDGEWARD_DIGEST_SIZE`
// bytes.
enum EdgewardStatus edgeward_answer_digest(const struct EdgewardAnswer *answer, char *text);

// Ends an answer. Null is nothing.
//
// # Safety
// `answer` is null or was given by this library, and is not used any more.
void edgeward_answer_free(struct EdgewardAnswer *answer);

// Follows the model `name` of the agent whose data folder is `agent_data`, for an app that loads models by itself. If
// something is active now, `on_activation` is called with it before this returns; later on a thread of the library's, one
// call after the other. It may take its time: the agent waits for the answer.
//
// `*follower` is freed with `edgeward_follower_free`; it is null if the call fails.
//
// # Safety
// The texts are null or end with a zero; `on_activation` may be called with `context`, from another thread, until the
// follower is freed; `follower` is null or has room for a pointer.
enum EdgewardStatus edgeward_follower_start(const char *agent_data,
                                            const char *name,
                                            EdgewardOnActivation on_activation,
                                            void *context,
                                            struct EdgewardFollower **follower);

// Ends the following; when it returns, the callback is not called any more. Do not call it from the callback. Null is
// nothing.
//
// # Safety
// `follower` is null or was given by this library, and is not used any more.
void edgeward_follower_free(struct EdgewardFollower *follower);

// The embedded engine on one thread.
struct EdgewardOptions edgeward_options_default(void);

// Opens the bundle in `folder`: every byte is checked against its digest, a form that runs here is loaded, and its golden
// test must pass. `folder` may also be an ONNX file, which nothing is checked of. `options` may be null.
//
// `*model` is freed with `edgeward_model_free`; it is null if the call fails.
//
// # Safety
// `folder` is null or ends with a zero; `options` is null or leads to options; `model` is null or has room for a pointer.
enum EdgewardStatus edgeward_model_open(const char *folder,
                                        const struct EdgewardOptions *options,
                                        struct EdgewardModel **model);

// Follows the model `name` of the agent whose data folder is `agent_data`: each bundle that the agent activates is loaded
// beside the one that serves, verified and tested, and takes over between two requests. What is active now serves when
// this returns; if nothing is, wait with `edgeward_model_wait`. `options` may be null.
//
// `*model` is freed with `edgeward_model_free`; it is null if the call fails.
//
// # Safety
// The texts are null or end with a zero; `options` is null or leads to options; `model` is null or has room for a pointer.
enum EdgewardStatus edgeward_model_watch(const char *agent_data,
                                         const char *name,
                                         const struct EdgewardOptions *options,
                                         struct EdgewardModel **model);

// Waits until a model serves, for `timeout_ms` milliseconds at most.
//
// # Safety
// `model` is null or was given by this library and not freed.
enum EdgewardStatus edgeward_model_wait(const struct EdgewardModel *model, uint64_t timeout_ms);

// How often a model took over, the first included: it rises with each swap. 0 before the first, and for null.
//
// # Safety
// `model` is null or was given by this library and not freed.
uint64_t edgeward_model_generation(const struct EdgewardModel *model);

// Pins the model that serves now. `*session` is freed with `edgeward_session_free`; it is null if the call fails. It may
// outlive the model it came from.
//
// # Safety
// `model` is null or was given by this library and not freed; `session` is null or has room for a pointer.
enum EdgewardStatus edgeward_model_pin(const struct EdgewardModel *model,
                                       struct EdgewardSession **session);

// Answers with the model that serves now; as `edgeward_session_infer`.
//
// # Safety
// `model` is null or was given by this library and not freed; `inputs` is null or leads to `count` tensors whose pointers
// lead to as much as they say; `answer` is null or has room for a pointer.
enum EdgewardStatus edgeward_model_infer(const struct EdgewardModel *model,
                                         const struct EdgewardTensor *inputs,
                                         size_t count,
                                         struct EdgewardAnswer **answer);

// Tells the model's monitor what was true about row `row` of an answer: a class's name or a number, as text. `alarmed`,
// unless null, is set to whether that raised an alarm. A label of a model that serves no more is not counted.
//
// # Safety
// `model` and `answer` are null or were given by this library and not freed; `truth` is null or ends with a zero;
// `alarmed` is null or has room for one.
enum EdgewardStatus edgeward_model_label(const struct EdgewardModel *model,
                                         const struct EdgewardAnswer *answer,
                                         size_t row,
                                         const char *truth,
                                         bool *alarmed);

// Asks the agent to activate nothing until `edgeward_model_resume`, or until `timeout_ms` milliseconds have passed, an
// hour at most: the app is in the middle of something.
//
// # Safety
// `model` is null or was given by this library and not freed.
enum EdgewardStatus edgeward_model_pause(const struct EdgewardModel *model, uint64_t timeout_ms);

// Ends a pause; without one it does nothing.
//
// # Safety
// `model` is null or was given by this library and not freed.
enum EdgewardStatus edgeward_model_resume(const struct EdgewardModel *model);

// Ends a model and, if it follows, the following. Pinned sessions and answers stay. Null is nothing.
//
// # Safety
// `model` is null or was given by this library, and is not used any more, by any thread.
void edgeward_model_free(struct EdgewardModel *model);

// How many inputs the model takes; 0 for null.
//
// # Safety
// `session` is null or was given by this library and not freed.
size_t edgeward_session_input_count(const struct EdgewardSession *session);

// How many outputs the model gives; 0 for null.
//
// # Safety
// `session` is null or was given by this library and not freed.
size_t edgeward_session_output_count(const struct EdgewardSession *session);

// What input number `index`, from 0, looks like. The pointers in `*spec` stand until the session is freed.
//
// # Safety
// `session` is null or was given by this library and not freed; `spec` is null or has room for one.
enum EdgewardStatus edgeward_session_input(const struct EdgewardSession *session,
                                           size_t index,
                                           struct EdgewardTensorSpec *spec);

// What output number `index`, from 0, looks like. The pointers in `*spec` stand until the session is freed.
//
// # Safety
// `session` is null or was given by this library and not freed; `spec` is null or has room for one.
enum EdgewardStatus edgeward_session_output(const struct EdgewardSession *session,
                                            size_t index,
                                            struct EdgewardTensorSpec *spec);

// The bundle's digest (a bare file's: of the file), as text with a zero at its end.
//
// # Safety
// `session` is null or was given by this library and not freed; `text` is null or has room for `EDGEWARD_DIGEST_SIZE`
// bytes.
enum EdgewardStatus edgeward_session_digest(const struct EdgewardSession *session, char *text);

// Answers with the pinned model. The inputs are copied. `*answer` is freed with `edgeward_answer_free`; it is null if
// there is none. Any number of threads may call this at once.
//
// # Safety
// `session` is null or was given by this library and not freed; `inputs` is null or leads to `count` tensors whose
// pointers lead to as much as they say; `answer` is null or has room for a pointer.
enum EdgewardStatus edgeward_session_infer(const struct EdgewardSession *session,
                                           const struct EdgewardTensor *inputs,
                                           size_t count,
                                           struct EdgewardAnswer **answer);

// Lets go of the pinned model. Null is nothing.
//
// # Safety
// `session` is null or was given by this library, and is not used any more.
void edgeward_session_free(struct EdgewardSession *session);

// What went wrong in the last call of this thread that failed; empty if none did. The text is the library's and stands
// until the next call of this thread that fails.
const char *edgeward_last_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EDGEWARD_H */
