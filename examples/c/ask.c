/* One question to a model, from C.
 *
 *     ask BUNDLE NUMBER...
 *
 * Opens the bundle (or ONNX file), gives its first input the numbers as one row, and prints every output.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "edgeward.h"

#define NUMBERS_MAX 4096

static int failed(const char *doing) {
    fprintf(stderr, "%s: %s\n", doing, edgeward_last_error());
    return 1;
}

static void print_output(const EdgewardTensor *output) {
    const char *names[] = {"?", "FP32", "FP64", "INT64", "INT32", "UINT8", "INT8", "BOOL", "BYTES"};
    printf("%s %s [", output->name, names[output->datatype]);
    size_t count = 1;
    for (size_t dim = 0; dim < output->rank; dim++) {
        printf("%s%" PRId64, dim ? ", " : "", output->shape[dim]);
        count *= (size_t)output->shape[dim];
    }
    printf("]");
    for (size_t at = 0; at < count; at++) {
        if (output->datatype == EDGEWARD_DATA_TYPE_FP32) {
            printf(" %.6f", (double)((const float *)output->data)[at]);
        } else if (output->datatype == EDGEWARD_DATA_TYPE_INT64) {
            printf(" %" PRId64, ((const int64_t *)output->data)[at]);
        }
    }
    printf("\n");
}

int main(int count, char **words) {
    static float values[NUMBERS_MAX];
    int64_t shape[2] = {1, 0};
    EdgewardModel *model = NULL;
    EdgewardAnswer *answer = NULL;

    if (count < 3 || count - 2 > NUMBERS_MAX) {
        fprintf(stderr, "usage: ask BUNDLE NUMBER...\n");
        return 2;
    }
    if (edgeward_model_open(words[1], NULL, &model) != EDGEWARD_STATUS_OK) {
        return failed("opening the bundle");
    }
    for (int at = 2; at < count; at++) {
        values[shape[1]++] = strtof(words[at], NULL);
    }
    EdgewardTensor input = {
        .datatype = EDGEWARD_DATA_TYPE_FP32,
        .rank = 2,
        .shape = shape,
        .data = values,
        .size_bytes = (size_t)shape[1] * sizeof(float),
    };
    int outcome = 0;
    if (edgeward_model_infer(model, &input, 1, &answer) != EDGEWARD_STATUS_OK) {
        outcome = failed("asking the model");
    }
    for (size_t at = 0; at < edgeward_answer_output_count(answer); at++) {
        EdgewardTensor output;
        if (edgeward_answer_output(answer, at, &output) != EDGEWARD_STATUS_OK) {
            outcome = failed("reading an output");
            break;
        }
        print_output(&output);
    }
    edgeward_answer_free(answer);
    edgeward_model_free(model);
    return outcome;
}
