/*
Feeds bytes made up by libFuzzer to the loader of sample.c, and to its reader of lines. `make fuzz`
builds it with the sanitizers and runs it twice: as it is, where few inputs get past the checksum,
and with -DRIGHT_CRC, where the last four bytes are put right first.

sample.c is compiled as it stands, but for a file that is a piece of memory, an exit() that jumps
back here, and books kept of what it allocates.
*/

#define _GNU_SOURCE // for fmemopen()
#include <sanitizer/asan_interface.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t *input;
static size_t input_size;
static FILE *input_file, *sink;
static jmp_buf back;
static void *live[64]; // what is allocated now
static size_t limit;   // bytes that one allocation may have

static void **place(void *memory) { // of NULL: a free one
    for (size_t i = 0; i < sizeof live / sizeof *live; i++) {
        if (live[i] == memory) return &live[i];
    }
    abort(); // freed twice, or never allocated
}

static void *tracked_realloc(void *memory, size_t size) {
    if (size > limit) abort();
    void **at = place(memory);
    return *at = realloc(memory, size);
}

static void *tracked_calloc(size_t count, size_t size) {
    if (size && count > limit / size) abort();
    void **at = place(NULL);
    return *at = calloc(count, size);
}

static void tracked_free(void *memory) {
    if (memory) *place(memory) = NULL;
    free(memory);
}

// The loader's buffer is larger than the file: what it has not read into, it must not look at.
static size_t poisoning_fread(void *to, size_t size, size_t count, FILE *f) {
    ASAN_UNPOISON_MEMORY_REGION(to, size * count);
    size_t n = fread(to, size, count, f);
    ASAN_POISON_MEMORY_REGION((char *)to + size * n, size * (count - n));
    return n;
}

#define main sample_main
#define fopen(path, mode) (input_file = fmemopen((void *)input, input_size, mode))
#define fclose(f) (input_file = NULL, fclose(f))
#define exit(status) longjmp(back, 1)
#define realloc tracked_realloc
#define calloc tracked_calloc
#define free tracked_free
#define fread poisoning_fread
#undef stderr
#define stderr sink // what it says is formatted, and thrown away
#include "../sample.c"
#undef free
#undef fclose

static void use(Model *m) {
    static const int32_t context[MAX_BLOCK]; // boundaries only
    Cell *cells = allocate(m->vocab_size, sizeof(Cell));
    for (int scoring = 0; scoring < 2; scoring++) {
        for (size_t top_k = 1; top_k <= m->vocab_size; top_k += (m->vocab_size + 1) / 2) {
            Sampler s = {.model = m, .scoring = scoring, .temperature = 0.7f, .top_p = 0.9f,
                         .top_k = top_k};
            s.p = allocate(m->vocab_size, sizeof(float));
            s.ranking = allocate(m->vocab_size, sizeof(Candidate));
            compute(&s, context, cells);
            if (!scoring && cells[m->vocab_size - 1].threshold != 1 << 30) abort();
        }
    }
    for (size_t v = 0; v < m->vocab_size; v++) {
        uint32_t code;
        size_t length = m->vocab[v].length;
        if (length < 1 || length > 4) abort();
        if (read_utf8((const unsigned char *)m->vocab[v].utf8, length, &code) != length) abort();
        if (code != m->vocab[v].code || find_token(m, code) != (int32_t)v) abort();
    }
    int32_t *tokens = allocate(input_size, sizeof *tokens);
    for (size_t i = 0, at, length; i < input_size; i++) {
        size_t count = encode(m, input + i, input_size - i, tokens, &at, &length);
        if (count > input_size - i || (length > 0 && count > at)) abort();
        if (length > 0 && at + length > input_size - i) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t *copy;
    if (!sink) sink = (fopen)("/dev/null", "w");
    input = copy = malloc(size);
    input_size = size;
    memcpy(copy, data, size);
#ifdef RIGHT_CRC
    uint32_t crc = size < 4 ? 0 : crc32(copy, size - 4);
    for (size_t i = 0; size >= 4 && i < 4; i++) copy[size - 4 + i] = (uint8_t)(crc >> 8 * i);
#endif
    // A buffer is doubled when it is full; 64 KiB are for what is small. For a float of W2 in the
    // file the table of rows has one for each position, at most 256; and W2, filled up to WIDTH
    // columns (of two at least) and four rows (of one at least), has at most 64. All else is less.
    limit = (64 << 10) + MAX_BLOCK * size;
    if (!setjmp(back)) {
        Model m = load("the input");
        use(&m);
    }
    if (input_file) fclose(input_file); // fail() left it open, as it may
    input_file = NULL;
    if (!setjmp(back)) {
        Lines lines = open_lines("the input");
        while (next_line(&lines)) {
            if (lines.length == 0 || lines.length > size) abort();
        }
    }
    for (size_t i = 0; i < sizeof live / sizeof *live; i++) tracked_free(live[i]);
    free(copy);
    return 0;
}
