/* An app in C whose model is replaced while it runs.
 *
 *     hotswap AGENT_DATA MODEL [SWAPS]
 *
 * It follows MODEL of the agent whose data folder is AGENT_DATA and asks it all the while, with inputs of zeros. Each time
 * another model answers, it says so. After SWAPS (1) changes it ends: with 0, or with 1 if any request failed.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edgeward.h"

#define INPUTS_MAX 8
#define RANK_MAX 16
#define FIRST_MODEL_MS 60000

/* Bytes of one element; 0 for byte strings, of which this program knows no value. */
static size_t element_size(uint32_t datatype) {
    switch (datatype) {
    case EDGEWARD_DATA_TYPE_FP64:
    case EDGEWARD_DATA_TYPE_INT64:
        return 8;
    case EDGEWARD_DATA_TYPE_FP32:
    case EDGEWARD_DATA_TYPE_INT32:
        return 4;
    case EDGEWARD_DATA_TYPE_BYTES:
        return 0;
    default:
        return 1;
    }
}

static int failed(const char *doing) {
    fprintf(stderr, "%s: %s\n", doing, edgeward_last_error());
    return 1;
}

/* One request with zeros. The model is pinned: what it takes cannot change before it has answered. */
static int ask(const EdgewardModel *model, char digest[EDGEWARD_DIGEST_SIZE]) {
    EdgewardTensor inputs[INPUTS_MAX];
    int64_t shapes[INPUTS_MAX][RANK_MAX];
    void *zeros[INPUTS_MAX] = {0};
    EdgewardSession *session = NULL;
    EdgewardAnswer *answer = NULL;
    int outcome = 0;

    if (edgeward_model_pin(model, &session) != EDGEWARD_STATUS_OK) {
        return failed("pinning the model");
    }
    size_t count = edgeward_session_input_count(session);
    if (count > INPUTS_MAX) {
        count = INPUTS_MAX;
    }
    for (size_t at = 0; at < count && outcome == 0; at++) {
        EdgewardTensorSpec spec;
        if (edgeward_session_input(session, at, &spec) != EDGEWARD_STATUS_OK) {
            outcome = failed("looking at an input");
            break;
        }
        size_t bytes = element_size(spec.datatype);
        for (size_t dim = 0; dim < spec.rank && dim < RANK_MAX; dim++) {
            shapes[at][dim] = spec.shape[dim] == EDGEWARD_ANY_SIZE ? 1 : spec.shape[dim];
            bytes *= (size_t)shapes[at][dim];
        }
        zeros[at] = calloc(bytes ? bytes : 1, 1);
        if (zeros[at] == NULL) {
            fprintf(stderr, "no memory for %zu bytes\n", bytes);
            outcome = 1;
            break;
        }
        inputs[at] = (EdgewardTensor){
            .name = spec.name,
            .datatype = spec.datatype,
            .rank = spec.rank,
            .shape = shapes[at],
            .data = zeros[at],
            .size_bytes = bytes,
        };
    }
    if (outcome == 0 && edgeward_session_infer(session, inputs, count, &answer) != EDGEWARD_STATUS_OK) {
        outcome = failed("asking the model");
    }
    if (outcome == 0 && edgeward_answer_digest(answer, digest) != EDGEWARD_STATUS_OK) {
        outcome = failed("reading who answered");
    }
    edgeward_answer_free(answer);
    edgeward_session_free(session);
    for (size_t at = 0; at < INPUTS_MAX; at++) {
        free(zeros[at]);
    }
    return outcome;
}

int main(int count, char **words) {
    char serving[EDGEWARD_DIGEST_SIZE] = "";
    uint64_t requests = 0, failures = 0;
    long changes = -1, wanted = count > 3 ? strtol(words[3], NULL, 10) : 1;
    EdgewardModel *model = NULL;

    if (count < 3) {
        fprintf(stderr, "usage: hotswap AGENT_DATA MODEL [SWAPS]\n");
        return 2;
    }
    if (edgeward_abi_version() != EDGEWARD_ABI_VERSION) {
        fprintf(stderr, "the library is not the one this program was compiled for\n");
        return 2;
    }
    if (edgeward_model_watch(words[1], words[2], NULL, &model) != EDGEWARD_STATUS_OK) {
        return failed("following the model");
    }
    if (edgeward_model_wait(model, FIRST_MODEL_MS) != EDGEWARD_STATUS_OK) {
        edgeward_model_free(model);
        return failed("waiting for a model");
    }
    while (changes < wanted) {
        char digest[EDGEWARD_DIGEST_SIZE] = "";
        struct timespec pause = {.tv_nsec = 1000000};
        requests++;
        if (ask(model, digest) != 0) {
            failures++;
        } else if (strcmp(digest, serving) != 0) {
            memcpy(serving, digest, sizeof serving);
            changes++;
            printf("serving %s\n", serving);
            fflush(stdout);
        }
        nanosleep(&pause, NULL);
    }
    printf("requests %" PRIu64 " failed %" PRIu64 " generation %" PRIu64 "\n", requests, failures,
           edgeward_model_generation(model));
    edgeward_model_free(model);
    return failures > 0;
}
