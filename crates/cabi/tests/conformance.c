/* Answers the steps of testkit/apps/steps.txt with the C interface. */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edgeward.h"

#define WORDS_MAX 32
#define RANK_MAX 16

static const char *const STATUS[] = {"ok",           "invalid_argument", "load_failed",  "not_serving", "invalid_input",
                                     "model_failed", "files_failed",     "timed_out",    "internal"};
static const char *const TYPE[] = {"",      "FP32", "FP64", "INT64", "INT32",
                                   "UINT8", "INT8", "BOOL", "BYTES"};

static EdgewardModel *model;
static EdgewardAnswer *answer;
static char more[4096];

static void add(const char *text) {
    strncat(more, text, sizeof more - strlen(more) - 1);
}

static void add_shape(size_t rank, const int64_t *shape) {
    char size[32];
    add("[");
    for (size_t at = 0; at < rank; at++) {
        snprintf(size, sizeof size, "%s%" PRId64, at ? "," : "", shape[at]);
        add(size);
    }
    add("]");
}

static EdgewardStatus told(const EdgewardTensorSpec *spec) {
    snprintf(more, sizeof more, "%s %s ", spec->name, TYPE[spec->datatype]);
    add_shape(spec->rank, spec->shape);
    return EDGEWARD_STATUS_OK;
}

static EdgewardStatus tensor(int is_input, const char *at) {
    EdgewardSession *session = NULL;
    EdgewardTensorSpec spec;
    size_t index = strtoul(at, NULL, 10);
    EdgewardStatus status = edgeward_model_pin(model, &session);
    if (status == EDGEWARD_STATUS_OK) {
        status = is_input ? edgeward_session_input(session, index, &spec)
                          : edgeward_session_output(session, index, &spec);
    }
    if (status == EDGEWARD_STATUS_OK) {
        told(&spec);
    }
    edgeward_session_free(session);
    return status;
}

static EdgewardStatus digest(void) {
    EdgewardSession *session = NULL;
    EdgewardStatus status = edgeward_model_pin(model, &session);
    if (status == EDGEWARD_STATUS_OK) {
        status = edgeward_session_digest(session, more);
    }
    edgeward_session_free(session);
    return status;
}

static EdgewardStatus infer(char **words, int count) {
    union {
        float fp32[WORDS_MAX];
        int64_t int64[WORDS_MAX];
    } values;
    int64_t shape[RANK_MAX];
    size_t rank = 0;
    int is_float = strcmp(words[1], "FP32") == 0, given = count - 3;
    for (char *size = words[2]; *size && rank < RANK_MAX; size++) {
        if (*size == '[' || *size == ',') {
            shape[rank++] = strtoll(size + 1, NULL, 10);
        }
    }
    for (int at = 0; at < given; at++) {
        if (is_float) {
            values.fp32[at] = strtof(words[3 + at], NULL);
        } else {
            values.int64[at] = strtoll(words[3 + at], NULL, 10);
        }
    }
    EdgewardTensor input = {
        .name = words[0],
        .datatype = is_float ? EDGEWARD_DATA_TYPE_FP32 : EDGEWARD_DATA_TYPE_INT64,
        .rank = rank,
        .shape = shape,
        .data = &values,
        .size_bytes = (size_t)given * (is_float ? sizeof(float) : sizeof(int64_t)),
    };
    edgeward_answer_free(answer);
    answer = NULL;
    return edgeward_model_infer(model, &input, 1, &answer);
}

static EdgewardStatus said(const char *name) {
    for (size_t at = 0; at < edgeward_answer_output_count(answer); at++) {
        EdgewardTensor output;
        EdgewardStatus status = edgeward_answer_output(answer, at, &output);
        if (status != EDGEWARD_STATUS_OK || strcmp(output.name, name) != 0) {
            continue;
        }
        snprintf(more, sizeof more, "%s ", TYPE[output.datatype]);
        add_shape(output.rank, output.shape);
        for (size_t value = 0; value < output.size_bytes / sizeof(float); value++) {
            char text[32];
            snprintf(text, sizeof text, " %.6f", ((const float *)output.data)[value]);
            add(text);
        }
        return EDGEWARD_STATUS_OK;
    }
    return EDGEWARD_STATUS_INVALID_ARGUMENT;
}

static EdgewardStatus row(const char *at) {
    EdgewardRow row;
    EdgewardStatus status = edgeward_answer_row(answer, strtoul(at, NULL, 10), &row);
    if (status == EDGEWARD_STATUS_OK) {
        snprintf(more, sizeof more, "%" PRId64 " %s %.6f", row.predicted, row.label ? row.label : "-",
                 row.confidence);
    }
    return status;
}

static EdgewardStatus wait_generation(uint64_t wanted) {
    for (int tries = 0; tries < 2000; tries++) {
        struct timespec pause = {.tv_nsec = 10000000};
        if (edgeward_model_generation(model) >= wanted) {
            return EDGEWARD_STATUS_OK;
        }
        nanosleep(&pause, NULL);
    }
    return EDGEWARD_STATUS_TIMED_OUT;
}

static void close_model(void) {
    edgeward_answer_free(answer);
    edgeward_model_free(model);
    answer = NULL;
    model = NULL;
}

static EdgewardStatus step(char **words, int count) {
    const char *word = words[0], *first = count > 1 ? words[1] : "";
    if (strcmp(word, "open") == 0) return edgeward_model_open(first, NULL, &model);
    if (strcmp(word, "follow") == 0) return edgeward_model_watch(first, words[2], NULL, &model);
    if (strcmp(word, "wait") == 0) return edgeward_model_wait(model, strtoul(first, NULL, 10));
    if (strcmp(word, "wait_generation") == 0) return wait_generation(strtoul(first, NULL, 10));
    if (strcmp(word, "digest") == 0) return digest();
    if (strcmp(word, "input") == 0) return tensor(1, first);
    if (strcmp(word, "output") == 0) return tensor(0, first);
    if (strcmp(word, "infer") == 0) return infer(words + 1, count - 1);
    if (strcmp(word, "said") == 0) return said(first);
    if (strcmp(word, "row") == 0) return row(first);
    if (strcmp(word, "pause") == 0) return edgeward_model_pause(model, strtoul(first, NULL, 10));
    if (strcmp(word, "resume") == 0) return edgeward_model_resume(model);
    if (strcmp(word, "label") == 0) {
        return edgeward_model_label(model, answer, strtoul(first, NULL, 10), words[2], NULL);
    }
    if (strcmp(word, "generation") == 0) {
        snprintf(more, sizeof more, "%" PRIu64, edgeward_model_generation(model));
        return EDGEWARD_STATUS_OK;
    }
    if (strcmp(word, "close") == 0) {
        close_model();
        return EDGEWARD_STATUS_OK;
    }
    fprintf(stderr, "what is %s?\n", word);
    exit(2);
}

int main(void) {
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        char *words[WORDS_MAX] = {0};
        int count = 0;
        for (char *word = strtok(line, " \n"); word && count < WORDS_MAX; word = strtok(NULL, " \n")) {
            words[count++] = word;
        }
        more[0] = 0;
        EdgewardStatus status = step(words, count);
        const char *rest = status == EDGEWARD_STATUS_OK ? more : edgeward_last_error();
        printf("%s%s%s\n", STATUS[status], *rest ? " " : "", rest);
        fflush(stdout);
    }
    close_model();
    return 0;
}
