/*
Feeds bytes made up by libFuzzer to sample.c: as a model, which then has to tokenize, to score and to
sample; and as a text, whose lines another model scores. `make fuzz` builds it with the sanitizers and
runs it twice: as it is, where few inputs get past the checksum, and with -DRIGHT_CRC, where the last
four bytes are put right first.

sample.c is compiled as it stands, but for a small cache, files that are pieces of memory, an exit()
that jumps back here, and books kept of what it allocates.
*/

#define _GNU_SOURCE // for fmemopen()
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t *input;
static size_t input_size;
static FILE *input_file, *sink;
static jmp_buf back;
static void *live[4096]; // what is allocated now
static size_t n_live;
static size_t limit; // bytes that one allocation may have

static void *keep_block(void *memory) {
    if (!memory || n_live == sizeof live / sizeof *live) abort();
    return live[n_live++] = memory;
}

static void forget(void *memory) {
    size_t i = n_live;
    while (i > 0 && live[i - 1] != memory) i--;
    if (i == 0) abort(); // freed twice, or never allocated
    live[i - 1] = live[--n_live];
}

static void *tracked_realloc(void *memory, size_t size) {
    if (size > limit) abort();
    if (memory) forget(memory);
    return keep_block(realloc(memory, size));
}

static void *tracked_calloc(size_t count, size_t size) {
    if (size && count > limit / size) abort();
    return keep_block(calloc(count, size));
}

static void tracked_free(void *memory) {
    if (memory) forget(memory);
    free(memory);
}

#define main sample_main
#define fopen(path, mode) (input_file = fmemopen((void *)input, input_size, mode))
#define fclose(f) (input_file = NULL, fclose(f))
#define exit(status) longjmp(back, 1)
#define realloc tracked_realloc
#define calloc tracked_calloc
#define free tracked_free
#define printf(...) fprintf(sink, __VA_ARGS__)
#define putchar(c) fputc(c, sink)
#undef stdout
#undef stderr
#define stdout sink // what it prints is formatted, and thrown away
#define stderr sink
#include "sample.c"
#undef free
#undef fclose
#undef fopen
#undef exit

// Runs what follows; say() jumps behind it.
#define RUN if (!setjmp(back))

static void clean_up(void) {
    if (input_file) fclose(input_file); // say() left it open, as it may
    input_file = NULL;
    while (n_live > 0) tracked_free(live[0]);
}

static void check_tokens(const Model *m, const uint8_t *text, size_t n) {
    int32_t *tokens = malloc((n + 1) * sizeof *tokens);
    size_t at, count = tokenize(m, text, n, tokens, &at), end = 0;
    for (size_t i = 0; i < count; i++) {
        size_t v = (size_t)tokens[i], longest = 0;
        if (v < 1 || v >= m->vocab_size) abort();
        for (size_t other = 1; other < m->vocab_size; other++) { // the plain way
            size_t length = m->start[other + 1] - m->start[other];
            int fits = length <= n - end && memcmp(m->text + m->start[other], text + end, length) == 0;
            if (fits && length > longest) longest = length;
        }
        if (longest != m->start[v + 1] - m->start[v]) abort();
        end += longest;
    }
    if (at != end || at > n) abort();
    free(tokens);
}

// Scores tokens made of the input one by one, and in one go.
static void check_scores(Sampler *s) {
    const Model *m = &s->model;
    int32_t tokens[256 + 24] = {0};
    double sum = 0, total = 0;
    for (size_t i = 0; i < 24; i++) {
        size_t byte = input[(i * 7 + 1) % input_size];
        tokens[s->context_size + i] = (int32_t)(m->n_contexts > 0 && byte % 2
                                                ? m->left[byte % m->n_contexts] : byte % m->vocab_size);
    }
    for (size_t i = 0; i < 24; i++) {
        double nll = score(s, tokens + i, 1);
        if (!(nll >= 0)) abort();
        sum += nll;
        if (i > 0) continue;
        for (size_t v = 0; v < m->vocab_size; v++) total += s->mixed[v];
        if (!(fabs(total - 1) < 0.002 * (double)(m->depth + 2))) abort();
    }
    double all = score(s, tokens, 24);
    if (memcmp(&all, &sum, sizeof all) != 0) abort();
}

static void check_names(Sampler *s) {
    for (int round = 0; round < 4; round++) {
        Options o = {.prefix = "", .n_names = round < 3 ? 20 : 1, .unique = round == 3};
        Set seen = {0};
        s->temperature = round == 0 ? 1 : 0.7f;
        s->top_p = round < 2 ? 1 : 0.9f;
        s->top_k = round < 3 ? s->model.vocab_size : 1 + s->model.vocab_size / 2;
        s->seed = (uint64_t)round + input_size;
        memset(s->cache, 0, s->n_entries * s->entry_size * sizeof *s->cache);
        names(s, &o, &seen);
        for (size_t i = 0; i < s->n_entries; i++) {
            const int32_t *threshold = s->cache + i * s->entry_size + 2;
            if (threshold[-2] == 0 && threshold[-1] == 0) continue;
            if (threshold[0] < 0 || threshold[s->model.vocab_size - 1] != 1 << 30) abort();
            for (size_t v = 1; v < s->model.vocab_size; v++) {
                if (threshold[v - 1] > threshold[v]) abort();
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static Sampler s;
    static uint8_t model[4096]; // the model that scores lines
    static size_t model_size;
    static double loss = -1; // of a line by that model
    if (!sink) {
        FILE *f = fopen("out/fuzz/seeds/mixture", "rb");
        if (!f) abort();
        model_size = fread(model, 1, sizeof model, f);
        fclose(f);
        sink = fopen("/dev/null", "w");
    }
    uint8_t *copy = malloc(size); // of just this size: what lies behind it is poisoned
    memcpy(copy, data, size);
#ifdef RIGHT_CRC
    uint32_t crc = size < 4 ? 0 : crc32(copy, size - 4);
    for (size_t i = 0; size >= 4 && i < 4; i++) copy[size - 4 + i] = (uint8_t)(crc >> 8 * i);
#endif
    input = copy;
    input_size = size;
    // A file is read into a buffer that is doubled when it is full. For a float of W2 in the file the
    // table of rows has one for each position, at most 256. All else is less.
    limit = (64 << 10) + 256 * size + 64;
    memset(&s, 0, sizeof s);
    s.temperature = s.top_p = 1;
    s.top_k = 1u << 31;
    RUN {
        load(&s.model, "the input");
        limit = SIZE_MAX; // for the cache, and names of 1,024 tokens
        set_up(&s);
        check_tokens(&s.model, copy, size);
        check_scores(&s);
        start_with(&s, "");
        if (s.model.depth + s.model.block_size < 20) check_names(&s);
    }
    clean_up();
    limit = SIZE_MAX;
    memset(&s, 0, sizeof s);
    s.temperature = s.top_p = 1;
    RUN {
        input = model;
        input_size = model_size;
        load(&s.model, "the model");
        set_up(&s);
        int32_t tokens[] = {0, 0, 1, 2, 3, 0};
        double nll = score(&s, tokens, 4);
        if (loss >= 0 && memcmp(&loss, &nll, sizeof loss) != 0) abort(); // another model changed it
        loss = nll;
        input = copy;
        input_size = size;
        print_losses(&s, "the input");
    }
    clean_up();
    free(copy);
    return 0;
}
