/*
Samples names from a trained model. It reads the file that export.py writes; it only needs a
compiler:

    cc -std=c11 -O3 sample.c -o sample
    ./sample                                            20 names from out/mlp.bin, else names.bin
    ./sample towns/mlp.bin -n 1000 -t 0.8 -i "Saint "   all of them start with "Saint "
    ./sample -n 1000000 -u -x names.txt                 a million new names, no two the same
    ./sample -e names.txt                               the loss of every line

This is a port of sample.py, which is easier to read: the same sections in the same order, the same
names, the same output, byte for byte, on every machine. So all that affects the output is computed
with + - * / and comparisons, in the order written here. Only a cache, and names and contexts side
by side, are added, for speed. A token is a string; token 0, the boundary, is around every name.
*/

#include <errno.h>
#include <float.h>
#include <math.h> // for INFINITY alone
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

#if FLT_EVAL_METHOD != 0
#error "float in a wider type: x86 needs -msse2 -mfpmath=sse, s390x -fexcess-precision=fast"
#elif defined __FAST_MATH__ || defined __ASSOCIATIVE_MATH__ || defined __RECIPROCAL_MATH__
#error "-ffast-math changes the order of sums: compile without it"
#elif defined __clang__ // a * b + c must round twice, even where one instruction could do both
#pragma STDC FP_CONTRACT OFF
#elif defined __GNUC__ && !defined __STRICT_ANSI__ // with -std=c11 gcc rounds twice by itself
#pragma GCC optimize ("fp-contract=off")
#endif

#define GOLDEN 0x9E3779B97F4A7C15 // 2^64 / the golden ratio: its multiples are spread evenly

enum {
    MAX_LEN = 1024,        // tokens in a name: longer ones are cut, so that every name ends
    MAX_TRIES = 100000,    // names in a row that -x and -u may leave out
    MAX_FILE = 1 << 29,    // bytes
    WIDTH = 16,            // columns of W2 that stand side by side in the file
    // the rest affects only speed
    BATCH = 64,            // names sampled side by side
    SIDE = 16,             // contexts computed side by side
    LINE = 16,             // 32-bit numbers in a cache line
    MAX_CACHE = 1 << 25,   // thresholds kept
    MAX_ROWS = 1 << 24,    // floats of rows of the first layer kept
};

// These stand below the rule, with all that is not about the model.
static void say(int status, const char *format, ...);
static void *allocate(uint64_t count, size_t size);
static unsigned char *read_file(const char *path, const char *magic, size_t *size);
static size_t read_utf8(const unsigned char *text, size_t n, uint32_t *code);
static int is_control(uint32_t code);

// -----------------------------------------------------------------------------
// File. Its format is described in export.py. Nothing in it is trusted: every array is checked when
// it is taken, and put into the byte order of this machine, where it stands.

typedef struct {
    size_t vocab_size, block_size, n_embd, n_hidden, n_contexts, n_grams, depth;
    uint32_t *start;       // (vocab_size + 1): where each token starts in text
    unsigned char *text;   // UTF-8; token 0 is a newline, the others are sorted
    float *C;              // (vocab_size, n_embd)
    float *W1;             // (block_size, n_embd, n_hidden)
    float *b1;             // (n_hidden)
    size_t n_groups;       // vocab_size / WIDTH, rounded up
    size_t n_inputs;       // n_hidden, rounded up to a multiple of 4
    float *W2;             // (n_groups, n_inputs, WIDTH)
    float *b2;             // (n_groups, WIDTH)
    double weight;         // p = weight * p_network + (1 - weight) * p_ngrams
    uint32_t *left;        // (n_contexts): a context's leftmost token, sorted among siblings
    uint32_t *first_child; // (n_contexts + 1): where each context's children start
    uint32_t *first_gram;  // (n_contexts + 1): where the tokens seen after each context start
    uint32_t *token;       // (n_grams)
    float *kept;           // (n_grams)
    float *backoff;        // (n_contexts)
    float *rows;           // (block_size, vocab_size, n_hidden): C @ W1, as far as it was needed
    char *known;           // (block_size, vocab_size): whether a row is. NULL: rows holds one
    float *h;              // (SIDE, n_inputs): the hidden layer
    float *logits;         // (SIDE, n_groups, WIDTH)
} Model;

typedef struct {
    const char *path;
    unsigned char *file;
    size_t at, end;        // what has not been read
} Reader;

typedef union { // a float and its bits
    float x;
    uint32_t bits;
} Float;

static void check(int holds, const Reader *r, const char *what) {
    if (!holds) say(1, "%s is damaged: its %s is wrong", r->path, what);
}

static uint32_t little_endian(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// The CRC-32 of zlib, PNG and Ethernet.
static uint32_t crc32(const unsigned char *data, size_t size) {
    uint32_t table[256], crc = 0xFFFFFFFF;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) {
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320 : 0); // the polynomial
        }
    }
    for (size_t i = 0; i < size; i++) crc = crc >> 8 ^ table[(crc ^ data[i]) & 0xFF];
    return ~crc;
}

// The next n elements of some bytes each; the next array starts at a multiple of 64 bytes.
static void *take(Reader *r, uint64_t n, uint64_t size) {
    check(r->at <= r->end && n * size <= r->end - r->at, r, "length");
    void *array = r->file + r->at;
    r->at += (size_t)((n * size + 63) / 64 * 64);
    return array;
}

static uint32_t *take_numbers(Reader *r, const char *name, uint64_t n, uint64_t highest) {
    uint32_t *array = take(r, n, 4);
    for (size_t i = 0; i < n; i++) {
        array[i] = little_endian((unsigned char *)(array + i));
        check(array[i] <= highest, r, name);
    }
    return array;
}

static float *take_floats(Reader *r, const char *name, uint64_t n, float lowest, float highest) {
    float *array = take(r, n, 4);
    for (size_t i = 0; i < n; i++) {
        array[i] = (Float){.bits = little_endian((unsigned char *)(array + i))}.x;
        check(array[i] >= lowest && array[i] <= highest, r, name); // false for nan, too
    }
    return array;
}

// Where each of n groups starts, the first of them at low, and where the last one ends, at high.
static uint32_t *take_starts(Reader *r, const char *name, size_t n, size_t low, size_t high) {
    uint32_t *array = take_numbers(r, name, (uint64_t)n + 1, high);
    for (size_t i = 0; i < n; i++) check(array[i] <= array[i + 1], r, name);
    check(array[0] == low && array[n] == high, r, name);
    return array;
}

// Whether one text comes before another: -1, or is the same: 0.
static int compare(const unsigned char *a, size_t n_a, const unsigned char *b, size_t n_b) {
    int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order != 0 ? order : (n_a > n_b) - (n_a < n_b);
}

// Whether the tokens are UTF-8, sorted, and without characters that could command a terminal.
static int is_vocabulary(const Model *m) {
    const unsigned char *text = m->text;
    if (m->start[1] != 1 || text[0] != '\n') return 0;
    for (size_t v = 1; v < m->vocab_size; v++) {
        size_t start = m->start[v], end = m->start[v + 1], before = v > 1 ? m->start[v - 1] : start;
        if (compare(text + before, start - before, text + start, end - start) >= 0) return 0;
        for (size_t at = start, length; at < end; at += length) {
            uint32_t code;
            length = read_utf8(text + at, end - at, &code);
            if (length == 0 || is_control(code)) return 0;
        }
    }
    return 1;
}

// Checks that the numbers of each of n groups rise.
static void check_sorted(const Reader *r, const char *name, const uint32_t *array,
                         const uint32_t *first, size_t n) {
    for (size_t i = 0; i < n; i++) {
        for (size_t j = (size_t)first[i] + 1; j < first[i + 1]; j++) {
            check(array[j - 1] < array[j], r, name);
        }
    }
}

static void prepare(Model *m, const Reader *r) {
    check(is_vocabulary(m), r, "vocabulary");
    check_sorted(r, "token", m->token, m->first_gram, m->n_contexts);
    check_sorted(r, "left", m->left, m->first_child, m->n_contexts);
    for (size_t i = 0; i < m->n_contexts; i++) {
        double sum = 0;
        for (size_t g = m->first_gram[i]; g < m->first_gram[i + 1]; g++) sum += m->kept[g];
        sum += m->backoff[i];
        check(sum - 1 < 0.001 && 1 - sum < 0.001, r, "sum of probabilities");
    }
    uint64_t n_rows = (uint64_t)m->block_size * m->vocab_size;
    int keep = n_rows * m->n_hidden <= MAX_ROWS;
    m->rows = allocate(keep ? n_rows : 1, m->n_hidden * sizeof(float));
    m->known = keep ? allocate(n_rows, 1) : NULL;
    m->h = allocate(SIDE, m->n_inputs * sizeof(float));
    m->logits = allocate(SIDE, m->n_groups * WIDTH * sizeof(float));
}

static void load_arrays(Model *m, Reader *r, size_t n_bytes) {
    const float large = (float)(1ull << 50); // no sum in forward() overflows
    uint64_t V = m->vocab_size, B = m->block_size, E = m->n_embd, H = m->n_hidden;
    m->n_groups = (m->vocab_size + WIDTH - 1) / WIDTH;
    m->n_inputs = (m->n_hidden + 3) / 4 * 4;
    m->start = take_starts(r, "start", m->vocab_size, 0, n_bytes);
    m->text = take(r, n_bytes, 1);
    m->C = take_floats(r, "C", V * E, -large, large);
    m->W1 = take_floats(r, "W1", B * E * H, -large, large);
    m->b1 = take_floats(r, "b1", H, -large, large);
    m->W2 = take_floats(r, "W2", (uint64_t)m->n_groups * m->n_inputs * WIDTH, -large, large);
    m->b2 = take_floats(r, "b2", m->n_groups * WIDTH, -large, large);
    m->weight = *take_floats(r, "weight", 1, 0, 1);
    m->left = take_numbers(r, "left", m->n_contexts, V - 1);
    m->first_child = take_starts(r, "first_child", m->n_contexts, m->n_contexts > 0, m->n_contexts);
    m->first_gram = take_starts(r, "first_gram", m->n_contexts, 0, m->n_grams);
    m->token = take_numbers(r, "token", m->n_grams, V - 1);
    m->kept = take_floats(r, "kept", m->n_grams, 0, 1);
    m->backoff = take_floats(r, "backoff", m->n_contexts, 0, 1);
    check(r->at == r->end, r, "length");
    if (m->n_contexts == 0) m->weight = 1;
}

static void load(Model *m, const char *path) {
    size_t size, n_bytes, *sizes[] = {&m->vocab_size, &n_bytes, &m->block_size, &m->n_embd,
                                      &m->n_hidden, &m->n_contexts, &m->n_grams, &m->depth};
    unsigned char *file = read_file(path, "NPLM", &size);
    if (size < 68 || memcmp(file, "NPLM", 4) != 0) {
        say(1, "%s is not a model written by export.py", path);
    }
    if (little_endian(file + 4) != 3) {
        say(1, "%s is of another version of the format: export it again", path);
    }
    unsigned char *aligned = memcpy(allocate(size, 1), file, size); // 64 bytes are a cache line
    free(file);
    file = aligned;
    Reader reader = {path, file, 64, size - 4}, *r = &reader;
    check(crc32(file, size - 4) == little_endian(file + size - 4), r, "checksum");
    for (int i = 0; i < 8; i++) *sizes[i] = little_endian(file + 8 + 4 * i);
    int B = m->block_size > 0, E = m->n_embd > 0, H = m->n_hidden > 0; // all, or none
    check(m->vocab_size > 1 && m->vocab_size < 1 << 22 && m->block_size <= 256 &&
          m->n_embd <= 1024 && m->n_hidden <= 65536 && m->depth <= 256 &&
          B == E && E == H && (H || m->n_contexts > 0), r, "sizes");
    load_arrays(m, r, n_bytes);
    prepare(m, r);
}

// -----------------------------------------------------------------------------
// Network

// exp(x) to about one unit in the last place, for x from -87 to 87; other x are clamped. It has no
// branch and no call, so that a compiler can vectorize it: compute many at once.
static inline float exponential(float x) {
    uint32_t bits = (Float){x}.bits, sign = bits & 0x80000000, magnitude = bits & 0x7FFFFFFF;
    magnitude = magnitude < 0x42AE0000 ? magnitude : 0x42AE0000; // the bits of 87.0f
    x = (Float){.bits = sign | magnitude}.x;
    // x = n ln 2 + r, n whole, |r| at most about ln 2 / 2. Floats near 1.5 * 2^23 have no bits for
    // fractions: adding that to x / ln 2 rounds it to n, and leaves n in the lowest bits.
    float shifted = x * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    // ln 2 in two parts, as in Cephes: the first has so few bits that n times it is exact
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    // the Taylor series of exp(r); terms after r^7 are below the rounding error
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    // times 2^n: adds n to the exponent, which stands above the 23 bits of the fraction
    return (Float){.bits = (Float){sum}.bits + ((Float){shifted}.bits << 23)}.x;
}

// C[token] @ W1[position], (n_hidden), computed once if there is room for all such rows.
static const float *row_of(Model *m, size_t position, size_t token) {
    size_t n_hidden = m->n_hidden, key = position * m->vocab_size + token;
    float *row = m->known ? m->rows + key * n_hidden : m->rows;
    if (m->known && m->known[key]) return row;
    const float *emb = m->C + token * m->n_embd;               // (n_embd)
    const float *W1 = m->W1 + position * m->n_embd * n_hidden; // (n_embd, n_hidden)
    memset(row, 0, n_hidden * sizeof(float));
    for (size_t e = 0; e < m->n_embd; e++) {
        for (size_t j = 0; j < n_hidden; j++) row[j] += emb[e] * W1[e * n_hidden + j];
    }
    if (m->known) m->known[key] = 1;
    return row;
}

// Computes the hidden layer h (n_hidden) after a context (block_size).
static void hidden_layer(Model *m, const int32_t *context, float *h) {
    size_t n_hidden = m->n_hidden;
    memcpy(h, m->b1, n_hidden * sizeof(float));
    for (size_t position = 0; position < m->block_size; position++) {
        const float *row = row_of(m, position, (size_t)context[position]);
        for (size_t j = 0; j < n_hidden; j++) h[j] += row[j];
    }
    for (size_t j = 0; j < n_hidden; j++) { // tanh, to about 1e-7
        h[j] = 1.0f - 2.0f / (exponential(2.0f * h[j]) + 1.0f);
    }
}

// Computes result (WIDTH) = b2 + h @ W2 for a group of logits. The inputs are added four at a time,
// to shorten the chain of additions that wait for each other. A SIMD register holds sums of several
// logits, never parts of one sum, so its width changes no result.
static void group_of_logits(const float *h, size_t n_inputs, const float *W2, const float *b2,
                            float *result) {
    float sum[WIDTH]; // it stays in registers
    memcpy(sum, b2, sizeof sum);
    for (size_t j = 0; j < n_inputs; j += 4, W2 += 4 * WIDTH) {
        for (size_t v = 0; v < WIDTH; v++) {
            sum[v] += (h[j] * W2[v] + h[j + 1] * W2[WIDTH + v]) +
                      (h[j + 2] * W2[2 * WIDTH + v] + h[j + 3] * W2[3 * WIDTH + v]);
        }
    }
    memcpy(result, sum, sizeof sum);
}

// Computes m->logits (n, n_groups * WIDTH) after n contexts (block_size), at most SIDE. W2, the
// largest array, is read from memory once for all of them.
static void forward(Model *m, const int32_t *const *context, size_t n) {
    size_t n_inputs = m->n_inputs;
    for (size_t i = 0; i < n; i++) hidden_layer(m, context[i], m->h + i * n_inputs);
    for (size_t g = 0; g < m->n_groups; g++) {
        for (size_t i = 0; i < n; i++) {
            group_of_logits(m->h + i * n_inputs, n_inputs, m->W2 + g * n_inputs * WIDTH,
                            m->b2 + g * WIDTH, m->logits + (i * m->n_groups + g) * WIDTH);
        }
    }
}

// -----------------------------------------------------------------------------
// N-grams

// Computes p (vocab_size): the probability of every token after the context that ends before end,
// by Kneser-Ney. The walk down the tree of contexts starts with all tokens equally likely; each
// node adds its own share, kept, to the tokens seen after it, and leaves backoff to shorter
// contexts.
static void ngram_probs(const Model *m, const int32_t *end, double *p) {
    for (size_t v = 0; v < m->vocab_size; v++) p[v] = 1.0 / (double)m->vocab_size;
    for (size_t k = 0, node = 0; ; k++) { // k tokens of context
        for (size_t v = 0; v < m->vocab_size; v++) p[v] *= m->backoff[node];
        for (size_t g = m->first_gram[node]; g < m->first_gram[node + 1]; g++) {
            p[m->token[g]] += m->kept[g];
        }
        if (k == m->depth) return;
        uint32_t token = (uint32_t)*--end;
        size_t low = m->first_child[node], last = m->first_child[node + 1];
        for (size_t high = last; low < high;) { // finds the child with that token
            size_t middle = (low + high) / 2;
            if (m->left[middle] < token) low = middle + 1;
            else high = middle;
        }
        if (low == last || m->left[low] != token) return;
        node = low;
    }
}

// -----------------------------------------------------------------------------
// Distribution

typedef struct {
    float p;
    uint32_t token;
} Candidate;

typedef struct {
    uint64_t number, key;  // key: of the context of the next token
    int32_t *entry;        // in the cache, of that context
    int32_t *tokens;       // context_size boundaries, then the name, then zeros
} Name;

typedef struct {
    Model model;
    float temperature, top_p; // temperature 0: the likeliest
    size_t top_k;
    uint64_t seed;
    size_t context_size;   // tokens that the model looks back
    double *mixed;         // (vocab_size): probabilities
    float *p;              // (vocab_size): with temperature, top_k and top_p, times a factor
    Candidate *heap;       // (vocab_size)
    size_t n_entries, entry_size;
    int32_t *cache;        // (n_entries, entry_size)
    uint64_t base, power;  // of keys; base^context_size
    size_t n_prefix;       // tokens that all names start with
    Name names[BATCH];
    char *text;            // a name, with room for the longest
} Sampler;

static double sum_of(const float *x, size_t n) {
    double sum = 0;
    for (size_t v = 0; v < n; v++) sum += x[v];
    return sum;
}

static float largest(const float *x, size_t n) {
    float highest = x[0];
    for (size_t v = 1; v < n; v++) highest = x[v] > highest ? x[v] : highest;
    return highest;
}

// Computes s->mixed: the probability of every token after a context (context_size), by the network,
// whose logits are given, by the n-grams, or by both: weight * p_network + (1 - weight) * p_ngrams.
static void mix(Sampler *s, const int32_t *context, const float *logits) {
    const Model *m = &s->model;
    if (m->n_contexts > 0) ngram_probs(m, context + s->context_size, s->mixed);
    if (m->n_hidden == 0) return;
    float highest = largest(logits, m->vocab_size); // softmax; less this, so no exp overflows
    for (size_t v = 0; v < m->vocab_size; v++) s->p[v] = exponential(logits[v] - highest);
    double total = sum_of(s->p, m->vocab_size);
    for (size_t v = 0; v < m->vocab_size; v++) { // without n-grams the weight is 1
        s->mixed[v] = m->weight * (s->p[v] / total) + (1 - m->weight) * s->mixed[v];
    }
}

// ln(x) for x >= 1, to about 1e-15: x = 2^n y; ln y = 2 artanh((y - 1) / (y + 1)).
static double logarithm(double x) {
    int n = 0;
    for (; x > 1.5; n++) x /= 2;
    double s = (x - 1) / (x + 1), sum = 0; // |s| is at most 1/5
    for (int k = 21; k > 0; k -= 2) sum = sum * s * s + 1.0 / k;
    return n * 0.69314718055994531 + 2 * s * sum;
}

static int is_likelier(Candidate a, Candidate b) { // of those as likely, the first
    return a.p > b.p || (a.p == b.p && a.token < b.token);
}

// Moves candidate i down in a heap of n, where no child is likelier than its parent.
static void sift_down(Candidate *heap, size_t n, size_t i) {
    Candidate moved = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && is_likelier(heap[child + 1], heap[child])) child++;
        if (!is_likelier(heap[child], moved)) break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

// Sets p to 0 for all but the likeliest tokens: the fewest that have a sum, but at most k. A heap
// finds these without sorting the others.
static void keep(Sampler *s, size_t k, double least) {
    size_t n = 0;
    double sum = 0;
    for (size_t v = 0; v < s->model.vocab_size; v++) {
        if (s->p[v] > 0) s->heap[n++] = (Candidate){s->p[v], (uint32_t)v};
        s->p[v] = 0;
    }
    for (size_t i = n / 2; i-- > 0;) sift_down(s->heap, n, i);
    for (size_t i = 0; i == 0 || (n > 0 && i < k && sum < least); i++) {
        Candidate likeliest = s->heap[0];
        s->heap[0] = s->heap[--n];
        sift_down(s->heap, n, 0);
        s->p[likeliest.token] = likeliest.p;
        sum += likeliest.p;
    }
}

// Sets p to 0 for all but the top_k likeliest tokens, then for all but the fewest of these that
// have a share top_p of their sum.
static void keep_likeliest(Sampler *s) {
    if (s->top_k < s->model.vocab_size) keep(s, s->top_k, INFINITY);
    keep(s, s->top_k, (double)s->top_p * sum_of(s->p, s->model.vocab_size));
}

// Computes the thresholds (vocab_size) after a context: of each token, the probability of all
// tokens up to it, times 2^30. A number below 2^30 stands for the first token whose threshold is
// above it.
static void distribution(Sampler *s, const int32_t *context, const float *logits,
                         int32_t *threshold) {
    size_t vocab_size = s->model.vocab_size;
    mix(s, context, logits);
    for (size_t v = 0; v < vocab_size; v++) s->p[v] = (float)s->mixed[v];
    double highest = largest(s->p, vocab_size);
    for (size_t v = 0; v < vocab_size; v++) { // p^(1 / temperature), but for a factor
        if (s->temperature == 1 || s->p[v] == 0) continue;
        s->p[v] = exponential(-(float)logarithm(highest / s->p[v]) / s->temperature);
    }
    if (s->top_k < vocab_size || s->top_p < 1) keep_likeliest(s);
    double total = sum_of(s->p, vocab_size), sum = 0;
    for (size_t v = 0; v < vocab_size; v++) {
        sum += s->p[v]; // in the end total, to the last bit: it is the same sum
        threshold[v] = (int32_t)(sum / total * (1 << 30));
    }
}

// -----------------------------------------------------------------------------
// Names

// Mixes the bits of a number so that each depends on all (Steele, Lea and Flood 2014).
static uint64_t splitmix64(uint64_t z) {
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

// The longest token that a text of n bytes starts with; 0 if none does.
static size_t longest_token(const Model *m, const unsigned char *text, size_t n) {
    while (n > 0) {
        size_t last = 0, high = m->vocab_size - 1; // last: of the tokens not after text
        while (last < high) {
            size_t middle = high - (high - last) / 2;
            size_t length = m->start[middle + 1] - m->start[middle];
            if (compare(m->text + m->start[middle], length, text, n) <= 0) last = middle;
            else high = middle - 1;
        }
        const unsigned char *token = m->text + m->start[last];
        size_t length = last == 0 ? 0 : m->start[last + 1] - m->start[last], same = 0;
        while (same < length && token[same] == text[same]) same++;
        if (same == length) return last;
        n = same; // any token that fits stands before this one, so it is in these bytes
    }
    return 0;
}

// Sets tokens to those of a text of n bytes: at each place the longest that fits. If tokens 1 to 4
// are "a", "ab", "b", "c", "abcb" is {2, 4, 3}. Returns how many; *at: where none fits, or n.
static size_t tokenize(const Model *m, const unsigned char *text, size_t n, int32_t *tokens,
                       size_t *at) {
    size_t count = 0, token;
    for (*at = 0; *at < n && (token = longest_token(m, text + *at, n - *at)) > 0; count++) {
        tokens[count] = (int32_t)token;
        *at += m->start[token + 1] - m->start[token];
    }
    return count;
}

// Nearly all the time goes into the distributions, and the same contexts come again and again, so
// the thresholds are cached. An entry is the key of the context used last, then its thresholds,
// then INT32_MAX up to the end of a cache line. The key is the tokens of a context (context_size)
// as the digits of a number, modulo 2^64, plus 1, since 0 is that of an empty entry. A token later
// the first digit is gone, the others have moved up, and the new token is the last.
static void look_up(const Sampler *s, Name *name, size_t at) {
    const int32_t *context = name->tokens + at;
    uint64_t key = 0;
    if (at > s->n_prefix) {
        key = (name->key - 1) * s->base - (uint64_t)context[-1] * s->power
            + (uint64_t)name->tokens[at + s->context_size - 1];
    } else {
        for (size_t i = 0; i < s->context_size; i++) key = key * s->base + (uint64_t)context[i];
    }
    uint64_t place = name->key = key + 1; // the key, or a hash of it
    if (place >= s->n_entries) place = (place * GOLDEN >> 32) * s->n_entries >> 32;
    name->entry = s->cache + (size_t)place * s->entry_size;
#ifdef __GNUC__
    __builtin_prefetch(name->entry);
    __builtin_prefetch(name->entry + LINE);
#endif
}

// Draws token number at of a name whose distribution is in the cache: it is how many thresholds are
// not above a random number. A name has MAX_LEN random numbers to itself, multiples of a constant,
// mixed: so it does not depend on the names before it.
static void draw(const Sampler *s, Name *name, size_t at) {
    uint64_t mixed = splitmix64(s->seed + (name->number * MAX_LEN + at) * GOLDEN);
    const int32_t number = (int32_t)(mixed >> 34), *entry = name->entry, *line = entry;
    size_t n = s->entry_size;
    while (n > 4 * LINE) { // most of a large vocabulary, by binary search
        size_t half = n / 2 / LINE * LINE;
        line += line[half - 1] <= number ? half : 0;
        n -= half;
    }
    // the key, two numbers, does not count
    int32_t token = line > entry ? (int32_t)(line - entry) - 2
                                 : -(entry[0] <= number) - (entry[1] <= number);
    for (const int32_t *end = line + n; line < end; line += LINE) {
        for (size_t i = 0; i < LINE; i++) token += line[i] <= number; // no branch: this vectorizes
    }
    name->tokens[s->context_size + at] = token;
}

// Draws token number at of n names, at most SIDE, whose contexts differ and are not in the cache.
static void draw_computed(Sampler *s, Name *const *names, size_t n, size_t at) {
    const Model *m = &s->model;
    const int32_t *context[SIDE];
    for (size_t i = 0; i < n; i++) {
        context[i] = names[i]->tokens + at + s->context_size - m->block_size;
    }
    if (m->n_hidden > 0) forward(&s->model, context, n);
    for (size_t i = 0; i < n; i++) {
        int32_t *entry = names[i]->entry;
        distribution(s, names[i]->tokens + at, m->logits + i * m->n_groups * WIDTH, entry + 2);
        for (size_t v = 2 + m->vocab_size; v < s->entry_size; v++) entry[v] = INT32_MAX;
        memcpy(entry, &names[i]->key, 8);
        draw(s, names[i], at); // at once: the next context may take this entry
    }
}

// Draws token number at of n names. Those whose contexts are not in the cache wait, until several
// that differ can be computed together.
static void draw_all(Sampler *s, Name *const *names, size_t n, size_t at) {
    Name *waiting[BATCH], *chosen[SIDE];
    memcpy(waiting, names, n * sizeof *names);
    while (n > 0) {
        size_t n_chosen = 0, n_waiting = 0;
        for (size_t i = 0; i < n; i++) {
            Name *name = waiting[i];
            if (memcmp(name->entry, &name->key, 8) == 0) {
                draw(s, name, at);
                continue;
            }
            size_t j = 0;
            while (j < n_chosen && chosen[j]->key != name->key) j++;
            if (j < n_chosen || n_chosen == SIDE) waiting[n_waiting++] = name;
            else chosen[n_chosen++] = name;
        }
        draw_computed(s, chosen, n_chosen, at);
        n = n_waiting;
    }
}

// Samples names number first to first + n - 1 side by side, a token each in turn. First all their
// contexts are looked up, so that the waits for memory overlap.
static void sample(Sampler *s, uint64_t first, size_t n) {
    Name *growing[BATCH]; // the names that go on
    for (size_t i = 0; i < n; i++) {
        growing[i] = &s->names[i];
        growing[i]->number = first + i;
    }
    for (size_t at = s->n_prefix; at < MAX_LEN && n > 0; at++) {
        for (size_t i = 0; i < n; i++) look_up(s, growing[i], at);
        draw_all(s, growing, n, at);
        size_t n_growing = 0;
        for (size_t i = 0; i < n; i++) {
            growing[n_growing] = growing[i];
            n_growing += growing[i]->tokens[s->context_size + at] != 0; // no branch: unpredictable
        }
        n = n_growing;
    }
}

// Writes a name to text, which has room for 16 bytes more. Returns its length in bytes.
static size_t write_name(const Sampler *s, const Name *name, char *text) {
    const Model *m = &s->model;
    char *end = text;
    for (const int32_t *token = name->tokens + s->context_size; *token != 0; token++) {
        const unsigned char *from = m->text + m->start[*token];
        size_t length = m->start[*token + 1] - m->start[*token];
        memcpy(end, from, 16); // always 16, which is faster; the next overwrites what is too much
        if (length > 16) memcpy(end, from, length);
        end += length;
    }
    return (size_t)(end - text);
}

// -----------------------------------------------------------------------------
// Scores

// The negative log-likelihood, in nats, of n tokens that stand after context_size others.
static double score(Sampler *s, const int32_t *tokens, size_t n) {
    Model *m = &s->model;
    double nll = 0;
    for (size_t at = 0; at < n; at++) {
        const int32_t *context[SIDE];
        size_t side = at % SIDE, n_sides = n - at < SIDE ? n - at : SIDE;
        for (size_t i = 0; i < n_sides; i++) {
            context[i] = tokens + at + i + s->context_size - m->block_size;
        }
        if (side == 0 && m->n_hidden > 0) forward(m, context, n_sides);
        mix(s, tokens + at, m->logits + side * m->n_groups * WIDTH);
        double p = s->mixed[tokens[at + s->context_size]]; // it can round above 1
        nll += p >= 1 ? 0 : p > 1e-300 ? logarithm(1 / p) : INFINITY;
    }
    return nll;
}

// -----------------------------------------------------------------------------
// From here on nothing is about the model: messages, files, text, the command line.

static int is_control(uint32_t code) { // could command a terminal; the tab is harmless
    return (code < 0x20 && code != '\t') || (code >= 0x7F && code < 0xA0);
}

// Prints a sentence on stderr; ends the program unless status is 0. What comes from a file or the
// command line may have control characters, or bytes that are not UTF-8: they are shown as numbers.
static void say(int status, const char *format, ...) {
    char text[2048];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    fputs("sample: ", stderr);
    for (size_t at = 0, n = strlen(text), length; at < n; at += length) {
        uint32_t code;
        length = read_utf8((unsigned char *)text + at, n - at, &code);
        if (length == 0) fprintf(stderr, "\\x%02X", (unsigned)(unsigned char)text[at++]);
        else if (is_control(code)) fprintf(stderr, "U+%04X", (unsigned)code);
        else fwrite(text + at, 1, length, stderr);
    }
    fputs(status == 2 ? " (-h lists the options)\n" : "\n", stderr);
    if (status) exit(status);
}

// Zeros, aligned to a cache line. Nothing is freed: it is needed to the end.
static void *allocate(uint64_t count, size_t size) {
    int fits = size == 0 || count < (SIZE_MAX - 64) / size;
    char *block = fits ? calloc(1, (size_t)count * size + 64) : NULL;
    if (!block) say(1, "not enough memory");
    return block + (64 - (uintptr_t)block % 64) % 64;
}

// Reads a file whole, unless it does not start with magic. Memory is taken as bytes arrive.
static unsigned char *read_file(const char *path, const char *magic, size_t *size) {
    unsigned char *data = NULL;
    size_t capacity = *size = 0;
    FILE *f = fopen(path, "rb");
    if (!f) say(1, "cannot open %s: %s", path, strerror(errno));
    do {
        if (*size == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 1 << 16;
            data = realloc(data, capacity);
            if (!data) say(1, "not enough memory");
        }
        *size += fread(data + *size, 1, capacity - *size, f);
        if (ferror(f)) say(1, "cannot read %s: %s", path, strerror(errno));
        if (*size > MAX_FILE) say(1, "%s has more than %d bytes", path, MAX_FILE);
    } while (!feof(f) && memcmp(data, magic, strlen(magic)) == 0);
    fclose(f);
    return data;
}

static void finish_output(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return;
    if (errno == EPIPE) exit(1); // the reader, such as head, has closed the pipe: no error
    say(1, "cannot write the output: %s", strerror(errno));
}

// -----------------------------------------------------------------------------
// Text

// Decodes the UTF-8 character at text, which has n > 0 bytes. Returns its length; 0 if ill-formed.
static size_t read_utf8(const unsigned char *text, size_t n, uint32_t *code) {
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000}; // code of each length
    unsigned char first = text[0];
    size_t length = first < 0x80 ? 1 : first < 0xC0 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3
                  : first < 0xF8 ? 4 : 0;
    if (length == 0 || length > n) return 0;
    *code = length == 1 ? first : first & 0x7Fu >> length; // without the bits that give the length
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) return 0;
        *code = *code << 6 | (text[i] & 0x3F);
    }
    int surrogate = *code >= 0xD800 && *code <= 0xDFFF; // half of a UTF-16 pair
    return *code < lowest[length] || *code > 0x10FFFF || surrogate ? 0 : length;
}

// White space as in Python's str.strip().
static int is_space(uint32_t code) {
    return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 ||
           code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
           code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

// Refuses a text that is not UTF-8, or has an accent as a character of its own that is in no token:
// sample.py composes those, but here are no tables for that. path is NULL for the prefix.
static void check_text(const Model *m, const char *path, const unsigned char *text, size_t n) {
    unsigned long line = 1;
    for (size_t at = 0, length; at < n; at += length) {
        uint32_t code = 0;
        length = read_utf8(text + at, n - at, &code);
        int decomposed = code >= 0x300 && code <= 0x36F;
        for (size_t i = 0; decomposed && i + 1 < m->start[m->vocab_size]; i++) {
            decomposed = memcmp(m->text + i, text + at, 2) != 0;
        }
        if (length == 0 || decomposed) {
            const char *how = length == 0 ? "is not UTF-8"
                            : "has decomposed letters: uconv -x any-nfc composes them";
            if (path) say(1, "line %lu of %s %s", line, path, how);
            say(length == 0 ? 1 : 2, "the prefix '%s' %s", (const char *)text, how);
        }
        line += code == '\n' || (code == '\r' && (at + 1 == n || text[at + 1] != '\n'));
    }
}

typedef struct {
    unsigned char *file;
    const unsigned char *at, *end; // what has not been read
    const unsigned char *text;     // the current line, without the white space around it
    size_t length;                 // of text
    unsigned long number;          // of the line, from 1
} Lines;

static Lines open_lines(const Model *m, const char *path) {
    static const struct { size_t n; const char *bytes, *name; } marks[] = { // UTF-32 comes first
        {4, "\xFF\xFE\0\0", "utf-32"}, {4, "\0\0\xFE\xFF", "utf-32"},
        {2, "\xFF\xFE", "utf-16"}, {2, "\xFE\xFF", "utf-16"}};
    size_t size;
    unsigned char *file = read_file(path, "", &size);
    for (int i = 0; i < 4; i++) {
        if (size >= marks[i].n && memcmp(file, marks[i].bytes, marks[i].n) == 0) {
            say(1, "%s is not UTF-8 but %s: iconv -f %s -t utf-8 converts it", path,
                marks[i].name, marks[i].name);
        }
    }
    size_t mark = size >= 3 && memcmp(file, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; // that of UTF-8
    check_text(m, path, file + mark, size - mark);
    return (Lines){.file = file, .at = file + mark, .end = file + size};
}

// Finds the next line that is not blank. Returns 0 if there is none.
static int next_line(Lines *lines) {
    for (lines->length = 0; lines->at < lines->end;) {
        const unsigned char *start = lines->at;
        uint32_t code = 0;
        lines->at += read_utf8(start, (size_t)(lines->end - start), &code);
        if (!is_space(code)) {
            if (lines->length == 0) lines->text = start;
            lines->length = (size_t)(lines->at - lines->text);
        } else if (code == '\n' || (code == '\r' && lines->at < lines->end && *lines->at != '\n')) {
            lines->number++;
            if (lines->length > 0) return 1;
        }
    }
    lines->number++; // a last line without a newline
    if (lines->length == 0) free(lines->file);
    return lines->length > 0;
}

// A hash set of lines, for -x and -u. It keeps 64 bits of each: a new name has the bits of one of a
// million lines once in 10^13 times, and is left out; no known one slips in.
typedef struct {
    uint64_t *slots;       // (n_slots): hashes; 0 in an empty slot
    size_t n_slots, count; // n_slots is a power of two
} Set;

static uint64_t hash_of(const Lines *line) {
    uint64_t hash = line->length;
    for (size_t i = 0; i < line->length; i++) hash = splitmix64(hash + line->text[i]);
    return hash > 0 ? hash : 1;
}

// Whether a hash is not in the set; if so, and add is set, it is added.
static int is_new(Set *set, uint64_t hash, int add) {
    if (2 * set->count >= set->n_slots) { // at most half full, so that searches are short
        Set larger = {NULL, set->n_slots ? 2 * set->n_slots : 1024, 0};
        larger.slots = calloc(larger.n_slots, sizeof *larger.slots);
        if (!larger.slots) say(1, "not enough memory");
        for (size_t i = 0; i < set->n_slots; i++) {
            if (set->slots[i]) is_new(&larger, set->slots[i], 1);
        }
        free(set->slots);
        *set = larger;
    }
    size_t i = (size_t)hash & (set->n_slots - 1);
    while (set->slots[i] && set->slots[i] != hash) i = (i + 1) & (set->n_slots - 1);
    if (set->slots[i]) return 0;
    if (add) set->slots[i] = hash;
    set->count += (size_t)add;
    return 1;
}

// -----------------------------------------------------------------------------
// Command line

typedef struct {
    const char *model, *prefix, *scored;
    char **excluded; // (n_excluded): the files of -x
    int n_excluded, unique, seeded;
    uint64_t n_names, first;
} Options;

static void set_up(Sampler *s) {
    size_t vocab_size = s->model.vocab_size;
    s->context_size = s->model.block_size;
    if (s->model.depth > s->context_size) s->context_size = s->model.depth;
    if (s->temperature == 0) s->temperature = (float)(s->top_k = 1); // the limit
    s->mixed = allocate(vocab_size, sizeof(double));
    s->p = allocate(vocab_size, sizeof(float));
    s->heap = allocate(vocab_size, sizeof(Candidate));
    s->entry_size = (2 + vocab_size + LINE - 1) / LINE * LINE;
    // odd, or the first tokens of long contexts would leave the key; and 3 or 5 modulo 8, or two
    // long contexts like abbabaab and baababba would have the same
    for (s->base = vocab_size | 1; s->base % 8 == 1 || s->base % 8 == 7;) s->base += 2;
    double n_keys = 2; // more entries than keys are useless
    s->power = 1;
    for (size_t i = 0; i < s->context_size; i++) {
        s->power *= s->base;
        n_keys *= (double)s->base;
    }
    s->n_entries = MAX_CACHE / s->entry_size;
    if (n_keys < (double)s->n_entries) s->n_entries = (size_t)n_keys;
    s->cache = allocate(s->n_entries, s->entry_size * sizeof(int32_t));
}

// Says that the model does not know the first character of a text of n bytes.
static void say_unknown(const Model *m, int status, const char *where, const unsigned char *text,
                        size_t n) {
    uint32_t code;
    unsigned char lower = text[0] | 0x20;
    int upper = text[0] >= 'A' && text[0] <= 'Z' && longest_token(m, &lower, 1) > 0;
    say(status, "%sthe model does not know '%.*s'%s", where, (int)read_utf8(text, n, &code),
        (const char *)text, upper ? "; try lower case" : "");
}

// Prints the mean loss of each line of a file, and of all of them on stderr.
static void print_losses(Sampler *s, const char *path) {
    double total = 0;
    unsigned long n_tokens = 0, n_unknown = 0;
    Lines lines = open_lines(&s->model, path);
    size_t room = (size_t)(lines.end - lines.at) + 1; // for the longest line and the boundary
    int32_t *tokens = s->names[0].tokens = allocate(s->context_size + room, sizeof(int32_t));
    while (!ferror(stdout) && next_line(&lines)) {
        int32_t *name = tokens + s->context_size;
        size_t at, n = tokenize(&s->model, lines.text, lines.length, name, &at);
        if (at < lines.length) {
            char where[1024];
            snprintf(where, sizeof where, "line %lu of %s is left out: ", lines.number, path);
            if (n_unknown++ == 0) {
                say_unknown(&s->model, 0, where, lines.text + at, lines.length - at);
            }
            continue;
        }
        name[n++] = 0;
        double nll = score(s, tokens, n);
        total += nll;
        n_tokens += n;
        printf("%.6f\t", nll / (double)n);
        fwrite(lines.text, 1, lines.length, stdout);
        putchar('\n');
    }
    finish_output(); // if a line could not be printed, there is no mean
    if (n_unknown) say(0, "left out %lu lines of %s", n_unknown, path);
    if (n_tokens == 0) say(1, "%s has no line to score", path);
    fprintf(stderr, "mean %.6f nats over %lu tokens\n", total / (double)n_tokens, n_tokens);
}

// Lets all names start with a prefix, and makes room for the longest.
static void start_with(Sampler *s, const char *prefix) {
    const Model *m = &s->model;
    const unsigned char *text = (const unsigned char *)prefix;
    size_t n = strlen(prefix), room = n > MAX_LEN ? n : MAX_LEN, at, longest = 0;
    check_text(m, NULL, text, n);
    for (size_t i = 0; i < BATCH; i++) {
        s->names[i].tokens = allocate(s->context_size + room + 1, sizeof(int32_t));
        s->n_prefix = tokenize(m, text, n, s->names[i].tokens + s->context_size, &at);
        if (at < n) say_unknown(m, 1, "", text + at, n - at);
    }
    for (size_t v = 1; v < m->vocab_size; v++) {
        if (m->start[v + 1] - m->start[v] > longest) longest = m->start[v + 1] - m->start[v];
    }
    s->text = allocate((1 << 16) + room * longest + 16, 1);
}

// Prints names that are not in seen; with -u, adds them. It is not static: gcc might inline it into
// main(), which it believes to run once, and then not vectorize draw().
void names(Sampler *s, const Options *o, Set *seen) {
    uint64_t n_printed = 0, number = o->first;
    size_t n_bytes = 0;
    int n_tries = 0, filter = o->unique || seen->count > 0;
    while (n_printed < o->n_names && n_tries < MAX_TRIES && !ferror(stdout)) {
        size_t n = o->n_names - n_printed < BATCH ? (size_t)(o->n_names - n_printed) : BATCH;
        sample(s, number, n);
        number += n;
        for (size_t i = 0; i < n && n_tries < MAX_TRIES; i++) {
            char *text = s->text + n_bytes;
            size_t length = write_name(s, &s->names[i], text);
            if (filter) { // compared as lines are; a blank one is never new
                const unsigned char *start = (unsigned char *)text;
                Lines line = {.at = start, .end = start + length};
                n_tries++;
                if (!next_line(&line) || !is_new(seen, hash_of(&line), o->unique)) continue;
                n_tries = 0;
            }
            n_printed++;
            text[length] = '\n';
            n_bytes += length + 1;
            if (n_bytes < 1 << 16) continue;
            fwrite(s->text, 1, n_bytes, stdout);
            n_bytes = 0;
        }
    }
    fwrite(s->text, 1, n_bytes, stdout);
    finish_output();
    if (n_tries == MAX_TRIES) say(1, "%d names in a row were not new", n_tries);
}

static const char usage[] =
    "usage: ./sample [MODEL] [-n NAMES] [-s SEED] [-f FIRST] [-t TEMPERATURE] [-k TOP_K]\n"
    "                [-p TOP_P] [-i PREFIX] [-x FILE] [-u] [-e FILE] [-h]\n"
    "Samples names from a trained model (MODEL: out/mlp.bin, or names.bin beside the program).\n"
    "  -n NAMES        how many to print (20)\n"
    "  -s SEED         the same gives the same names (from the clock, and shown)\n"
    "  -f FIRST        number of the first name (0)\n"
    "  -t TEMPERATURE  below 1 safer, 0 likeliest (1)\n"
    "  -k TOP_K        sample from the TOP_K likeliest tokens (all)\n"
    "  -p TOP_P        from the fewest tokens with a share TOP_P (1)\n"
    "  -i PREFIX       start every name with PREFIX\n"
    "  -x FILE         leave out lines of FILE; can be repeated\n"
    "  -u              print no name twice\n"
    "  -e FILE         score instead: the loss of every line of FILE\n"
    "  -h, --help      show this\n";

static uint64_t parse_whole(char option, const char *text, uint64_t lowest, uint64_t highest) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < lowest || value > highest) {
        say(2, "-%c takes a whole number from %llu to %llu, not '%s'", option,
            (unsigned long long)lowest, (unsigned long long)highest, text);
    }
    return value;
}

static double parse_real(char option, const char *text, double highest) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= highest)) { // nan is in no range
        say(2, "-%c takes a number from 0 to %g, not '%s'", option, highest, text);
    }
    return value;
}

static void parse_options(int argc, char **argv, Options *o, Sampler *s) {
    double value_of_t;
    o->excluded = argv; // stored over arguments already read
    for (int i = 1; i < argc; i++) {
        char *option = argv[i], letter = option[0] ? option[1] : 0, *value = option;
        if (option[0] != '-') {
            if (o->model) say(2, "more than one model: '%s'", option);
            o->model = option;
            continue;
        }
        if (strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0) {
            fputs(usage, stdout);
            finish_output();
            exit(0);
        }
        if (letter && strchr("nsftkpixe", letter)) { // -n20 or -n 20
            value = option[2] ? option + 2 : argv[++i];
            if (!value) say(2, "-%c needs a value", letter);
        } else if (strcmp(option, "-u") != 0) {
            say(2, "there is no option '%s'", option);
        }
        if (letter == 'e' && o->scored) say(2, "-e takes one file");
        switch (letter) {
            case 'n': o->n_names = parse_whole('n', value, 0, 1ull << 53); break;
            case 's': s->seed = parse_whole('s', value, 0, UINT64_MAX); o->seeded = 1; break;
            case 'f': o->first = parse_whole('f', value, 0, 1ull << 53); break;
            case 't': value_of_t = parse_real('t', value, 1000);
                      s->temperature = value_of_t < 0.001 ? 0 : (float)value_of_t; break;
            case 'k': s->top_k = (size_t)parse_whole('k', value, 1, 1ull << 31); break;
            case 'p': s->top_p = (float)parse_real('p', value, 1); break;
            case 'i': o->prefix = value; break;
            case 'x': o->excluded[o->n_excluded++] = value; break;
            case 'u': o->unique = 1; break;
            default: o->scored = value;
        }
    }
}

// The model, if none is given: out/mlp.bin, or names.bin in the folder of the program.
static const char *default_model(const char *program) {
    FILE *f = fopen("out/mlp.bin", "rb");
    size_t folder = strlen(program);
    if (f) {
        fclose(f);
        return "out/mlp.bin";
    }
    while (folder > 0 && program[folder - 1] != '/' && program[folder - 1] != '\\') folder--;
    char *path = allocate(folder + 10, 1);
    memcpy(path, program, folder);
    memcpy(path + folder, "names.bin", 10);
    say(0, "there is no out/mlp.bin; this is %s", path);
    return path;
}

// Whether the compiler rounds after every operation, and adds in source order: 1 / 4096 squared is
// lost if a * a is rounded, and 1 is lost beside 2^25.
static int is_exact(void) {
    volatile float a = 1 + 1.0f / 4096, b = 1 << 25, c = 1;
    float root = a, large = b, one = c;
    return root * root - (1 + 1.0f / 2048) == 0 && (large + one) - large == 0;
}

int main(int argc, char **argv) {
    static Sampler s;
    static Set seen; // static, for the tests' leak checker
    Options o = {.prefix = "", .n_names = 20};
#ifdef _WIN32
    _setmode(_fileno(stdout), _O_BINARY); // lines end with \n
#endif
    s.temperature = s.top_p = 1; // not in the declaration: s would be in the file of the program
    s.top_k = 1u << 31;
    parse_options(argc, argv, &o, &s);
    if (!is_exact()) say(1, "built for other arithmetic: use -std=c11, no part of -ffast-math");
    load(&s.model, o.model ? o.model : default_model(argv[0]));
    set_up(&s);
    if (o.scored) {
        print_losses(&s, o.scored);
        return 0;
    }
    start_with(&s, o.prefix);
    for (int i = 0; i < o.n_excluded; i++) {
        Lines lines = open_lines(&s.model, o.excluded[i]);
        while (next_line(&lines)) is_new(&seen, hash_of(&lines), 1);
    }
    if (!o.seeded) {
        struct timespec now;
        timespec_get(&now, TIME_UTC); // 24 bits of it are short enough to retype
        s.seed = splitmix64((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) >> 40;
        fprintf(stderr, "seed %llu\n", (unsigned long long)s.seed);
    }
    s.seed = splitmix64(s.seed + GOLDEN); // else two seeds could share a sequence, shifted
    names(&s, &o, &seen);
    return 0;
}
