/* Everything a careless caller can do that the library can notice: each must give the right status and words, and leave
 * nothing behind. Run as: refusals BUNDLE AGENT_DATA MODEL */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "edgeward.h"

static int faults;

static void expect(int line, EdgewardStatus found, EdgewardStatus wanted, const char *words) {
    if (found != wanted || (wanted != EDGEWARD_STATUS_OK && strstr(edgeward_last_error(), words) == NULL)) {
        fprintf(stderr, "line %d: status %d, wanted %d; '%s' has no '%s'\n", line, (int)found, (int)wanted,
                edgeward_last_error(), words);
        faults++;
    }
}

static void expect_true(int line, int truth) {
    if (!truth) {
        fprintf(stderr, "line %d: not so\n", line);
        faults++;
    }
}

#define EXPECT(call, status, words) expect(__LINE__, call, EDGEWARD_STATUS_##status, words)
#define IS(truth) expect_true(__LINE__, truth)

static void opening(const char *bundle, const char *data, const char *name) {
    EdgewardModel *model = (EdgewardModel *)&faults;
    EdgewardOptions options = edgeward_options_default();

    EXPECT(edgeward_model_open(NULL, NULL, &model), INVALID_ARGUMENT, "the folder is null");
    IS(model == NULL);
    EXPECT(edgeward_model_open("\xff", NULL, &model), INVALID_ARGUMENT, "UTF-8");
    EXPECT(edgeward_model_open(bundle, NULL, NULL), INVALID_ARGUMENT, "place for the model is null");
    EXPECT(edgeward_model_open("/nowhere/at/all", NULL, &model), LOAD_FAILED, "/nowhere/at/all");
    EXPECT(edgeward_model_open(__FILE__, NULL, &model), LOAD_FAILED, "model");
    options.size--;
    EXPECT(edgeward_model_open(bundle, &options, &model), INVALID_ARGUMENT, "edgeward_options_default");
    EXPECT(edgeward_model_watch(data, "no/such name", NULL, &model), INVALID_ARGUMENT, "the model's name");
    EXPECT(edgeward_model_watch(NULL, name, NULL, &model), INVALID_ARGUMENT, "data folder is null");
    EXPECT(edgeward_model_watch(__FILE__, name, NULL, &model), FILES_FAILED, "following");
    EXPECT(edgeward_follower_start(data, name, NULL, NULL, NULL), INVALID_ARGUMENT, "null");
    EXPECT(edgeward_model_wait(NULL, 1), INVALID_ARGUMENT, "the model is null");
    IS(edgeward_model_generation(NULL) == 0);

    EXPECT(edgeward_model_watch(data, "nothing-yet", NULL, &model), OK, "");
    EdgewardSession *session = NULL;
    EdgewardAnswer *answer = NULL;
    EXPECT(edgeward_model_wait(model, 1), TIMED_OUT, "within 1 ms");
    EXPECT(edgeward_model_pin(model, &session), NOT_SERVING, "no model");
    EXPECT(edgeward_model_infer(model, NULL, 0, &answer), NOT_SERVING, "no model");
    IS(session == NULL && answer == NULL);
    EXPECT(edgeward_model_pause(model, 1000), OK, "");
    EXPECT(edgeward_model_pause(model, 2000), OK, "");
    EXPECT(edgeward_model_resume(model), OK, "");
    EXPECT(edgeward_model_resume(model), OK, "");
    edgeward_model_free(model);
}

static void asking(const char *bundle) {
    EdgewardModel *model = NULL;
    EdgewardSession *session = NULL;
    EdgewardAnswer *answer = NULL;
    EdgewardTensorSpec spec;
    EdgewardTensor output;
    EdgewardRow row;
    char digest[EDGEWARD_DIGEST_SIZE];
    char answered[EDGEWARD_DIGEST_SIZE];
    bool alarmed = true;
    float values[8] = {0.5f, -0.5f, 0.25f, 0.0f, 1.0f, 1.0f, 1.0f, 1.0f};
    int64_t shape[2] = {2, 4};
    int64_t negative[2] = {-2, 4};
    int64_t vast[2] = {INT64_MAX, INT64_MAX};
    EdgewardTensor x = {.name = "x", .datatype = EDGEWARD_DATA_TYPE_FP32, .rank = 2, .shape = shape,
                        .data = values, .size_bytes = sizeof values};
    EdgewardTensor bad;

    EXPECT(edgeward_model_open(bundle, NULL, &model), OK, "");
    EXPECT(edgeward_model_wait(model, 0), OK, "");
    EXPECT(edgeward_model_pause(model, 1000), INVALID_ARGUMENT, "edgeward_model_watch");
    EXPECT(edgeward_model_pin(model, NULL), INVALID_ARGUMENT, "null");
    EXPECT(edgeward_model_pin(model, &session), OK, "");
    IS(edgeward_session_input_count(session) == 1 && edgeward_session_output_count(session) == 2);
    IS(edgeward_session_input_count(NULL) == 0);
    EXPECT(edgeward_session_input(session, 1, &spec), INVALID_ARGUMENT, "no input 1");
    EXPECT(edgeward_session_input(session, 0, NULL), INVALID_ARGUMENT, "null");
    EXPECT(edgeward_session_input(session, 0, &spec), OK, "");
    IS(strcmp(spec.name, "x") == 0 && spec.datatype == EDGEWARD_DATA_TYPE_FP32 && spec.rank == 2);
    IS(spec.shape[0] == EDGEWARD_ANY_SIZE && spec.shape[1] == 4);
    EXPECT(edgeward_session_output(session, 0, &spec), OK, "");
    IS(strcmp(spec.name, "label") == 0 && spec.datatype == EDGEWARD_DATA_TYPE_INT64);
    EXPECT(edgeward_session_digest(session, digest), OK, "");
    EXPECT(edgeward_session_digest(session, NULL), INVALID_ARGUMENT, "null");
    IS(strlen(digest) == EDGEWARD_DIGEST_SIZE - 1);

    EXPECT(edgeward_session_infer(NULL, &x, 1, &answer), INVALID_ARGUMENT, "the session is null");
    EXPECT(edgeward_session_infer(session, NULL, 1, &answer), INVALID_ARGUMENT, "the inputs is null");
    EXPECT(edgeward_session_infer(session, NULL, 0, &answer), INVALID_INPUT, "x");
    EXPECT(edgeward_session_infer(session, &x, SIZE_MAX, &answer), INVALID_ARGUMENT, "fit no memory");
    EXPECT(edgeward_session_infer(session, &x, 1, NULL), INVALID_ARGUMENT, "place for the answer");
    bad = x, bad.name = "y";
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_INPUT, "y");
    bad = x, bad.data = NULL;
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_ARGUMENT, "data is null");
    bad = x, bad.shape = NULL;
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_ARGUMENT, "shape is null");
    bad = x, bad.shape = negative;
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_ARGUMENT, "negative");
    bad = x, bad.shape = vast;
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_INPUT, "too many elements");
    bad = x, bad.rank = 99;
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_ARGUMENT, "99 dimensions");
    bad = x, bad.datatype = 99;
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_ARGUMENT, "no datatype 99");
    bad = x, bad.datatype = EDGEWARD_DATA_TYPE_INT32;
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_INPUT, "INT32");
    bad = x, bad.size_bytes--;
    EXPECT(edgeward_session_infer(session, &bad, 1, &answer), INVALID_INPUT, "32 bytes but 31");
    IS(answer == NULL);

    bad = x, bad.name = NULL;
    EXPECT(edgeward_model_infer(model, &bad, 1, &answer), OK, "");
    IS(edgeward_answer_output_count(answer) == 2 && edgeward_answer_row_count(answer) == 2);
    EXPECT(edgeward_answer_output(answer, 2, &output), INVALID_ARGUMENT, "no output 2");
    EXPECT(edgeward_answer_output(answer, 1, &output), OK, "");
    IS(strcmp(output.name, "probabilities") == 0 && output.rank == 2 && output.shape[1] == 3);
    const float *probabilities = output.data;
    IS(fabsf(probabilities[0] + probabilities[1] + probabilities[2] - 1.0f) < 1e-5f);
    EXPECT(edgeward_answer_row(answer, 2, &row), INVALID_ARGUMENT, "no row 2");
    EXPECT(edgeward_answer_row(answer, 0, &row), OK, "");
    IS(row.predicted >= 0 && row.predicted < 3 && isnan(row.value));
    IS(row.confidence == probabilities[row.predicted]);
    IS(edgeward_answer_alarm_count(answer) == 0 && edgeward_answer_alarm(answer, 0) == NULL);
    IS(strlen(edgeward_answer_id(answer)) == 36 && edgeward_answer_id(NULL) == NULL);
    EXPECT(edgeward_answer_digest(answer, answered), OK, "");
    IS(strcmp(digest, answered) == 0);
    EXPECT(edgeward_model_label(model, answer, 0, NULL, NULL), INVALID_ARGUMENT, "the label is null");
    EXPECT(edgeward_model_label(model, answer, 9, "1", NULL), INVALID_ARGUMENT, "no row 9");
    EXPECT(edgeward_model_label(model, answer, 0, "1", &alarmed), OK, "");
    IS(!alarmed);

    /* What was pinned and what was answered outlive the model. */
    edgeward_model_free(model);
    EXPECT(edgeward_answer_output(answer, 0, &output), OK, "");
    edgeward_answer_free(answer);
    EXPECT(edgeward_session_infer(session, &x, 1, &answer), OK, "");
    edgeward_answer_free(answer);
    edgeward_session_free(session);
    edgeward_model_free(NULL);
    edgeward_session_free(NULL);
    edgeward_answer_free(NULL);
    edgeward_follower_free(NULL);
}

static int told(void *context, const EdgewardActivation *activation) {
    int *calls = context;
    (*calls)++;
    return activation->sequence == 1 && strlen(activation->digest) == EDGEWARD_DIGEST_SIZE - 1 &&
                   strlen(activation->folder) > 0
               ? 0
               : 7;
}

static void following(const char *data, const char *name) {
    EdgewardFollower *follower = NULL;
    int calls = 0;
    EXPECT(edgeward_follower_start(data, name, NULL, NULL, &follower), INVALID_ARGUMENT, "the callback is null");
    EXPECT(edgeward_follower_start(data, name, told, &calls, &follower), OK, "");
    IS(calls == 1);
    edgeward_follower_free(follower);
}

int main(int count, char **words) {
    if (count != 4) {
        return 2;
    }
    IS(edgeward_abi_version() == EDGEWARD_ABI_VERSION);
    IS(strcmp(edgeward_last_error(), "") == 0);
    opening(words[1], words[2], words[3]);
    asking(words[1]);
    following(words[2], words[3]);
    return faults > 0;
}
