/*
Feeds bytes made up by libFuzzer to the reader of models in sample.c, and to its reader of lines.
`make fuzz` builds it with the sanitizers and runs it twice: as it is, where few inputs get past the
checksum, and with -DRIGHT_CRC, where the last four bytes are put right first.

sample.c is compiled as it stands, but for a file that is a piece of memory, an exit() that jumps
back here, and books kept of what it allocates.
*/

#define _GNU_SOURCE // for fmemopen()
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
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

static void *keep(void *memory) {
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
    return keep(realloc(memory, size));
}

// On a cache line, as allocate() makes its blocks: what lies behind them is poisoned.
static void *tracked_calloc(size_t count, size_t size) {
    void *memory;
    if (size && count > limit / size) abort();
    if (count * size > 1 << 20) return keep(calloc(count, size)); // the cache
    if (posix_memalign(&memory, 64, count * size)) abort();
    return keep(memset(memory, 0, count * size));
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
#undef stderr
#define stderr sink // what it says is formatted, and thrown away
#include "../sample.c"
#undef free
#undef fclose
#undef exit

static void check_tokens(const Model *m) {
    for (size_t v = 0; v < m->vocab_size; v++) {
        const Token *token = &m->vocab[v];
        int32_t found;
        uint32_t code;
        if (token->length < 1 || token->length > 4) abort();
        if (read_utf8((const unsigned char *)token->utf8, token->length, &code) != token->length) {
            abort();
        }
        read_token(m, (const unsigned char *)token->utf8, token->length, &found);
        if (code != m->code[v] || found != (int32_t)v) abort();
    }
    for (size_t i = 0; i < input_size; i++) {
        int32_t token;
        size_t length = read_token(m, input + i, input_size - i, &token);
        if (length < 1 || length > input_size - i) abort();
        if (token < 0 || (size_t)token >= m->vocab_size) abort();
    }
}

// The distributions after some contexts, of which the n-grams know at least the first.
static void use(Sampler *s) {
    const Model *m = &s->model;
    int32_t context[MAX_CONTEXT] = {0};
    for (int round = 0; round < 4; round++) {
        s->temperature = round == 0 ? 1 : 0.7f;
        s->top_p = round < 2 ? 1 : 0.9f;
        s->top_k = round < 3 ? m->vocab_size : (m->vocab_size + 1) / 2;
        compute_thresholds(s, context);
        if (s->threshold[m->vocab_size - 1] != 1 << 30) abort();
        for (size_t i = 0; i < s->context_size; i++) { // along the n-grams, as far as they go
            const Order *order = i + 1 < m->n_orders ? &m->orders[i + 1] : NULL;
            size_t at = input[(i + (size_t)round) % input_size];
            context[s->context_size - 1 - i] = (int32_t)(order ? order->left[at % order->n_contexts]
                                                               : at % m->vocab_size);
        }
        float nll = nll_of(s, context, context[0]);
        if (!(nll >= 0)) abort();
    }
    if (m->n_orders > 0) {
        double sum = 0;
        ngram_probs(m, context + s->context_size, s->mixed);
        for (size_t v = 0; v < m->vocab_size; v++) sum += s->mixed[v];
        if (!(fabs(sum - 1) < 1e-9)) abort();
    }
}

static void sample_names(Sampler *s) {
    static char name[4 * (MAX_LEN + 1)];
    s->n_prefix = 0;
    memset(s->tokens, 0, 2 * sizeof *s->tokens);
    sample_batch(s, 5, 2);
    for (size_t i = 0; i < 2; i++) {
        if (write_name(s, i, name) > 4 * MAX_LEN) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static Sampler s;
    if (!sink) sink = (fopen)("/dev/null", "w");
    uint8_t *copy = malloc(size); // of just this size: what lies behind it is poisoned
    input = memcpy(copy, data, size);
    input_size = size;
#ifdef RIGHT_CRC
    uint32_t crc = size < 4 ? 0 : crc32(copy, size - 4);
    for (size_t i = 0; size >= 4 && i < 4; i++) copy[size - 4 + i] = (uint8_t)(crc >> 8 * i);
#endif
    // A file is read into a buffer that is doubled when it is full; 64 KiB are for what is small.
    // For a float of W2 in the file the table of rows has one for each position, at most 256; and
    // W2, filled up to WIDTH columns (of two at least) and four rows (of one at least), has at most
    // 32. All else is less.
    limit = (64 << 10) + MAX_CONTEXT * size + 64;
    memset(&s, 0, offsetof(Sampler, tokens));
    s.temperature = s.top_p = 1;
    if (!setjmp(back)) {
        read_model(&s.model, "the input");
        check_tokens(&s.model);
        limit = SIZE_MAX; // for the cache
        set_up(&s);
        use(&s);
        if (s.n_sets < 400) sample_names(&s);
    }
    if (input_file) fclose(input_file); // say() left it open, as it may
    if (!setjmp(back)) {
        Lines lines = open_lines("the input");
        while (next_line(&lines)) {
            if (lines.length == 0 || lines.length > size) abort();
        }
    }
    if (input_file) fclose(input_file);
    while (n_live > 0) tracked_free(live[0]);
    free(copy);
    return 0;
}
