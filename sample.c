/*
Samples names from a trained model. Reads the file that export.py writes; needs only a C compiler:

    cc -std=c11 -O3 sample.c -o sample
    ./sample                                            20 names from out/mlp.bin
    ./sample towns/mlp.bin -n 1000 -t 0.8 -i "Saint "   all starting with "Saint ", temperature 0.8
    ./sample -n 1000000 -u -x names.txt                 a million new names, no two the same
    ./sample -e names.txt                               the loss of every line
    ./sample -h                                         all options

A token is a character; token 0, the boundary, stands before and after every name. A model gives the
probability of every token after a context, the tokens before it: by the network of mlp.py, by the
n-grams of bigram.py, or by a mixture of both. A name is sampled token by token until the boundary
comes. The sections: model, network, n-grams, distribution, cache, names; then what any program has.

The same model, seed and options give the same names on every machine, byte for byte: what affects
the output is computed with + - * / and comparisons alone, in the order written here. IEEE 754
defines their results to the last bit, but not those of exp, log and tanh. tests/twin.py is the same
arithmetic in NumPy.
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
    MAX_LEN = 1024,          // characters in a name: longer ones are cut, so that every name ends
    MAX_CONTEXT = 256,       // tokens in a context, as in mlp.py
    MAX_TRIES = 1000000,     // names that -x and -u reject in a row before it gives up
    MAX_FILE = 1 << 29,      // bytes
    // the rest affects only speed
    BATCH = 64,              // names sampled side by side
    WIDTH = 16,              // logits computed side by side
    LINE = 32,               // 16-bit numbers in a cache line
    ROWS_MEMORY = 8 << 20,   // bytes for rows of the first layer
    CACHE_MEMORY = 48 << 20, // bytes for the cache
};

// -----------------------------------------------------------------------------
// Model. The file format is described in export.py.

typedef struct {
    char utf8[4];
    uint8_t length; // of utf8
} Token;

// The n-grams of order k: which tokens followed each context of k tokens. The context without its
// leftmost token is its parent, a context of order k - 1.
typedef struct {
    uint32_t n_contexts, n_grams;
    double discount[3];    // subtracted from counts of 1, of 2, and of 3 or more
    uint32_t *left;        // (n_contexts): the leftmost token, sorted among siblings
    uint32_t *first_child; // (n_contexts + 1): where each context's children start in order k + 1
    uint32_t *first_gram;  // (n_contexts + 1): where the tokens seen after each context start
    uint32_t *token;       // (n_grams): sorted after each context
    double *kept;          // (n_grams): (count - discount) / sum of the context's counts
    double *backoff;       // (n_contexts): sum of the discounts / sum of the counts
} Order;

typedef struct {
    size_t vocab_size;
    Token *vocab;          // (vocab_size)
    uint32_t *code;        // (vocab_size): code points: a newline, the boundary; then sorted
    double weight;         // p = weight * p of the network + (1 - weight) * p of the n-grams
    size_t n_orders;       // 0 without n-grams
    Order *orders;         // (n_orders)
    size_t block_size, n_embd, n_hidden; // 0 without a network
    float *C;              // (vocab_size, n_embd)
    float *W1;             // (block_size, n_embd, n_hidden)
    float *b1;             // (n_hidden)
    // the second layer as forward() reads it: WIDTH outputs at a time, padded with zeros
    size_t n_groups;       // vocab_size / WIDTH, rounded up
    size_t n_inputs;       // n_hidden, rounded up to a multiple of 4
    float *W2;             // (n_groups, n_inputs, WIDTH)
    float *b2;             // (n_groups, WIDTH)
    float *h;              // (n_inputs): the hidden layer
    float *logits;         // (n_groups, WIDTH)
    size_t n_rows;
    float *rows;           // (n_rows, n_hidden): what row_of() has computed
    uint32_t *row_key;     // (n_rows): position and token of each row, plus 1; 0 in an empty row
} Model;

typedef struct {
    float p;
    uint32_t token;
} Candidate;

typedef struct {
    float temperature, top_p;
    size_t top_k;          // 0: all
    uint64_t seed;
    Model model;
    size_t context_size;   // tokens that the model looks back
    double *mixed;         // (vocab_size): probabilities
    float *p;              // (vocab_size): with temperature, top_k and top_p, times a factor
    Candidate *ranking;    // (vocab_size): the likeliest first
    int32_t *threshold;    // (vocab_size)
    size_t n_sets, entry_size;
    int16_t *cache;        // (n_sets, 2, entry_size)
    uint64_t base, top_weight;                    // of keys; base^(context_size - 1)
    int32_t tokens[BATCH][MAX_CONTEXT + MAX_LEN]; // context_size boundaries, then the name
    size_t n_prefix;       // tokens that all names start with
} Sampler;

// -----------------------------------------------------------------------------
// Network

// The bits of a float as a whole number, and back.
static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// exp(x) to about one unit in the last place, for x from -87 to 87; other x are clamped. It has no
// branch and no call, so that a compiler can vectorize it: compute many at once.
static inline float exponential(float x) {
    uint32_t sign = bits_of(x) & 0x80000000, magnitude = bits_of(x) & 0x7FFFFFFF;
    x = float_of(sign | (magnitude < 0x42AE0000 ? magnitude : 0x42AE0000)); // the bits of 87.0f
    // x = n ln 2 + r, n whole, |r| at most about ln 2 / 2. Floats near 1.5 * 2^23 have no bits for
    // fractions: adding that to x / ln 2 rounds it to n, and leaves n in the lowest bits, even a
    // negative n, thanks to the 1.5.
    float shifted = x * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    // ln 2 in two parts, as in Cephes: the first has so few bits that n times it is exact
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    // the Taylor series of exp(r); the terms after r^7 are below the rounding error
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    return float_of(bits_of(sum) + (bits_of(shifted) << 23)); // times 2^n: adds n to the exponent
}

static inline float tanh_(float x) { // to about 1e-7 absolute
    return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}

// C[token] @ W1[position], (n_hidden): what a token at a position adds to the hidden layer. The
// same few rows are needed again and again, so they are cached; if there are too many, some share
// a place, and the latest wins.
static const float *row_of(Model *m, size_t position, size_t token) {
    size_t n_hidden = m->n_hidden, key = position * m->vocab_size + token, place = key % m->n_rows;
    float *row = m->rows + place * n_hidden;
    if (m->row_key[place] != key + 1) {
        m->row_key[place] = (uint32_t)key + 1;
        const float *emb = m->C + token * m->n_embd;               // (n_embd)
        const float *W1 = m->W1 + position * m->n_embd * n_hidden; // (n_embd, n_hidden)
        memset(row, 0, n_hidden * sizeof(float));
        for (size_t e = 0; e < m->n_embd; e++) {
            for (size_t j = 0; j < n_hidden; j++) row[j] += emb[e] * W1[e * n_hidden + j];
        }
    }
    return row;
}

// Computes the logits (vocab_size) of the tokens after a context (block_size).
static void forward(Model *m, const int32_t *context) {
    size_t n_hidden = m->n_hidden;
    float *h = m->h;
    memcpy(h, m->b1, n_hidden * sizeof(float));
    for (size_t position = 0; position < m->block_size; position++) {
        const float *row = row_of(m, position, (size_t)context[position]);
        for (size_t j = 0; j < n_hidden; j++) h[j] += row[j];
    }
    for (size_t j = 0; j < n_hidden; j++) h[j] = tanh_(h[j]);
    // logits = h @ W2 + b2. Each logit adds its inputs four at a time, to shorten the chain of
    // additions that wait for each other. A SIMD register holds sums of several logits, never parts
    // of one sum, so its width changes no result.
    const float *W2 = m->W2;
    for (size_t group = 0; group < m->n_groups; group++) {
        float sum[WIDTH];
        memcpy(sum, m->b2 + group * WIDTH, sizeof sum);
        for (size_t j = 0; j < m->n_inputs; j += 4, W2 += 4 * WIDTH) {
            for (size_t v = 0; v < WIDTH; v++) {
                sum[v] += (h[j] * W2[v] + h[j + 1] * W2[WIDTH + v]) +
                          (h[j + 2] * W2[2 * WIDTH + v] + h[j + 3] * W2[3 * WIDTH + v]);
            }
        }
        memcpy(m->logits + group * WIDTH, sum, sizeof sum);
    }
}

// -----------------------------------------------------------------------------
// N-grams: interpolated, modified Kneser-Ney smoothing, as in bigram.py

// Binary search in a sorted array, from low to before end; returns end if number is not there.
static size_t find(const uint32_t *array, size_t low, size_t end, uint32_t number) {
    for (size_t high = end; low < high;) {
        size_t middle = (low + high) / 2;
        if (array[middle] < number) low = middle + 1;
        else high = middle;
    }
    return low < end && array[low] == number ? low : end;
}

// Computes p (vocab_size) after the context that ends before end. It starts from the uniform
// distribution. Each order whose context is known, one token longer each time, keeps its own part
// and gives the rest, backoff, to the distribution so far.
static void ngram_probs(const Model *m, const int32_t *end, double *p) {
    size_t context = 0; // order 0 has one, the empty context
    for (size_t v = 0; v < m->vocab_size; v++) p[v] = 1.0 / (double)m->vocab_size;
    for (size_t k = 0; k < m->n_orders; k++) {
        const Order *order = &m->orders[k];
        if (k > 0) {
            const uint32_t *siblings = order[-1].first_child + context;
            context = find(order->left, siblings[0], siblings[1], (uint32_t)*--end);
            if (context == siblings[1]) return;
        }
        double backoff = order->backoff[context];
        for (size_t v = 0; v < m->vocab_size; v++) p[v] = backoff * p[v];
        for (size_t g = order->first_gram[context]; g < order->first_gram[context + 1]; g++) {
            p[order->token[g]] += order->kept[g];
        }
    }
}

// -----------------------------------------------------------------------------
// Distribution

// ln(x) for x >= 1, to about 1e-15: x = 2^n m, and ln m = 2 artanh((m - 1) / (m + 1)).
static double logarithm(double x) {
    int n = 0;
    for (; x > 1.5; n++) x /= 2;
    double s = (x - 1) / (x + 1), sum = 0; // |s| <= 1/5
    for (int k = 21; k > 0; k -= 2) sum = sum * s * s + 1.0 / k;
    return n * 0.69314718055994531 + 2 * s * sum;
}

static float largest(const float *x, size_t n) {
    float highest = x[0];
    for (size_t v = 1; v < n; v++) highest = x[v] > highest ? x[v] : highest;
    return highest;
}

static double sum_of(const float *x, size_t n) {
    double sum = 0;
    for (size_t v = 0; v < n; v++) sum += x[v];
    return sum;
}

// Computes s->p by the network alone: exp(logit / temperature), an unnormalized softmax.
static void softmax(Sampler *s, const int32_t *context, float temperature) {
    Model *m = &s->model;
    forward(m, context + s->context_size - m->block_size);
    float highest = largest(m->logits, m->vocab_size);
    for (size_t v = 0; v < m->vocab_size; v++) {
        m->logits[v] -= highest; // the softmax stays the same, and exp cannot overflow
        s->p[v] = exponential(m->logits[v] / temperature);
    }
}

// Computes s->mixed by the n-grams, and by the network if there is one.
static void mix(Sampler *s, const int32_t *context) {
    const Model *m = &s->model;
    ngram_probs(m, context + s->context_size, s->mixed);
    if (m->n_hidden == 0) return;
    softmax(s, context, 1);
    double total = sum_of(s->p, m->vocab_size);
    for (size_t v = 0; v < m->vocab_size; v++) {
        s->mixed[v] = m->weight * (s->p[v] / total) + (1 - m->weight) * s->mixed[v];
    }
}

static int by_probability(const void *a, const void *b) { // ties by token
    const Candidate *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

// Sets p to 0 for all but the top_k likeliest tokens, and then for all but the fewest of these that
// have at least top_p of their probability.
static void keep_likeliest(Sampler *s) {
    size_t vocab_size = s->model.vocab_size, n = 0;
    double total = 0, sum = 0;
    for (size_t v = 0; v < vocab_size; v++) s->ranking[v] = (Candidate){s->p[v], (uint32_t)v};
    qsort(s->ranking, vocab_size, sizeof *s->ranking, by_probability);
    for (size_t i = 0; i < s->top_k; i++) total += s->ranking[i].p;
    while (n == 0 || (n < s->top_k && sum < s->top_p * total)) sum += s->ranking[n++].p;
    for (; n < vocab_size; n++) s->p[s->ranking[n].token] = 0;
}

// Computes s->threshold after a context (context_size): the probability of all tokens up to each,
// times 2^30. A random number below 2^30 stands for the first token whose threshold is above it.
static void compute_thresholds(Sampler *s, const int32_t *context) {
    size_t vocab_size = s->model.vocab_size;
    if (s->model.n_orders == 0) {
        softmax(s, context, s->temperature);
    } else {
        mix(s, context);
        for (size_t v = 0; v < vocab_size; v++) s->p[v] = (float)s->mixed[v];
        double highest = largest(s->p, vocab_size);
        for (size_t v = 0; v < vocab_size; v++) { // p^(1 / temperature), times a factor
            if (s->temperature == 1 || s->p[v] == 0) continue;
            s->p[v] = exponential(-(float)logarithm(highest / s->p[v]) / s->temperature);
        }
    }
    if (s->top_k < vocab_size || s->top_p < 1) keep_likeliest(s);
    double total = sum_of(s->p, vocab_size), sum = 0;
    for (size_t v = 0; v < vocab_size; v++) {
        sum += s->p[v]; // in the end total, to the last bit: it is the same sum
        s->threshold[v] = (int32_t)(sum / total * (1 << 30));
    }
}

// -----------------------------------------------------------------------------
// Cache. Nearly all the time goes into the distributions, and the same contexts come again and
// again, so the thresholds are cached. A set of the cache has two entries: the first is of the
// context used last, the second of the one before. An entry is a row of 16-bit numbers: the mark of
// its context, as four negative numbers; then of each threshold all but the lowest 15 bits, at most
// 2^15 - 1; then 2^15 - 1 up to the end of a cache line, which up to 28 tokens is the first.

// The key of a context (context_size): its tokens as the digits of a number, modulo 2^64. Its mark
// is key * GOLDEN without four bits, in their place 1. Keys less than 3 * 10^17 apart, as those of
// 12 letters or less, never have the same mark; others hardly ever.
static uint64_t key_of(const Sampler *s, const int32_t *context) {
    uint64_t key = 0;
    for (size_t i = 0; i < s->context_size; i++) key = key * s->base + (uint64_t)context[i];
    return key;
}

// The entry for a context, which is computed if it is not in its set.
static const int16_t *look_up(Sampler *s, const int32_t *context, uint64_t key, int16_t *set) {
    uint64_t mark = key * GOLDEN | 0x8000800080008000;
    if (memcmp(set, &mark, 8) == 0) return set;
    for (size_t i = 0; i < s->entry_size; i++) { // swap the two
        int16_t number = set[i];
        set[i] = set[s->entry_size + i];
        set[s->entry_size + i] = number;
    }
    if (memcmp(set, &mark, 8) == 0) return set;
    compute_thresholds(s, context);
    memcpy(set, &mark, 8);
    for (size_t i = 4; i < s->entry_size; i++) {
        int32_t upper = i < 4 + s->model.vocab_size ? s->threshold[i - 4] >> 15 : INT16_MAX;
        set[i] = (int16_t)(upper < INT16_MAX ? upper : INT16_MAX);
    }
    return set;
}

// -----------------------------------------------------------------------------
// Names

// Mixes the bits of a number so that each depends on all (SplitMix64, Steele, Lea and Flood 2014).
static uint64_t splitmix64(uint64_t z) {
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

// A random number from 0 to 2^30 - 1: a counter times a constant, mixed. Every name has MAX_LEN of
// them to itself, one per character, so it does not depend on the names before it.
static int32_t random_number(uint64_t seed, uint64_t name, size_t at) {
    return (int32_t)(splitmix64(seed + (name * MAX_LEN + at) * GOLDEN) >> 34);
}

// The token that a random number below 2^30 stands for: how many thresholds are not above it. They
// are counted without a branch, a cache line at a time, which vectorizes.
static int32_t draw(Sampler *s, const int32_t *context, const int16_t *entry, int32_t number) {
    int16_t upper = (int16_t)(number >> 15);
    int32_t token = (int32_t)s->entry_size - 4; // without the four numbers of the mark
    for (size_t i = 0; i < s->entry_size; i += LINE) {
        int16_t above = 0;
        for (size_t j = 0; j < LINE; j++) above = (int16_t)(above + (entry[i + j] > upper));
        token -= above;
    }
    if (entry[token + 3] != upper) return token;
    compute_thresholds(s, context); // about once in 2^15 / vocab_size times it takes the low bits
    for (token = 0; s->threshold[token] <= number; token++) {}
    return token;
}

// Samples names number first to first + n_names - 1 side by side, a token each in turn. First all
// their sets are prefetched, so that their cache misses overlap.
static void sample_batch(Sampler *s, uint64_t first, size_t n_names) {
    int16_t *set[BATCH];
    uint64_t key[BATCH];                        // of the context of the next token
    size_t growing[BATCH], n_growing = n_names; // the names that go on
    for (size_t i = 0; i < n_names; i++) {
        growing[i] = i;
        key[i] = key_of(s, s->tokens[i] + s->n_prefix);
    }
    for (size_t at = s->n_prefix; at < MAX_LEN && n_growing > 0; at++) {
        for (size_t g = 0; g < n_growing; g++) {
            uint64_t n = key[growing[g]]; // the set's number: the key, or a hash of it
            if (n >= s->n_sets) n = (n * GOLDEN >> 32) * s->n_sets >> 32;
            set[g] = s->cache + (size_t)n * 2 * s->entry_size;
#ifdef __GNUC__
            __builtin_prefetch(set[g]);
#endif
        }
        size_t n = n_growing;
        n_growing = 0;
        for (size_t g = 0; g < n; g++) {
            size_t i = growing[g];
            int32_t *context = s->tokens[i] + at; // (context_size), then the new token
            const int16_t *entry = look_up(s, context, key[i], set[g]);
            int32_t token = draw(s, context, entry, random_number(s->seed, first + i, at));
            context[s->context_size] = token;
            // the first digit of the key goes, the others move up, and the token is the last
            key[i] = (key[i] - (uint64_t)context[0] * s->top_weight) * s->base + (uint64_t)token;
            growing[n_growing] = i;
            n_growing += token != 0; // no branch: the end of a name is hard to predict
        }
    }
}

// Writes name i of the batch to text, which has room for MAX_LEN + 1 characters. Returns its length
// in bytes.
static size_t write_name(const Sampler *s, size_t i, char *text) {
    char *end = text;
    const int32_t *name = s->tokens[i] + s->context_size;
    for (size_t at = 0; at < MAX_LEN && name[at] != 0; at++) {
        const Token *token = &s->model.vocab[name[at]];
        memcpy(end, token->utf8, 4); // always 4, which is faster; the next overwrites them
        end += token->length;
    }
    return (size_t)(end - text);
}

// -----------------------------------------------------------------------------
// From here on nothing is about the model: messages, files, text, the command line.

// Prints a sentence on stderr; ends the program unless status is 0. ASCII control characters,
// which come from a file or the command line and could command the terminal, are shown as U+XXXX.
static void say(int status, const char *format, ...) {
    char text[2048];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    fputs("sample: ", stderr);
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < 32 || *c == 127) fprintf(stderr, "U+%04X", (unsigned)*c);
        else fputc(*c, stderr);
    }
    fputs(status == 2 ? " (-h lists the options)\n" : "\n", stderr);
    if (status) exit(status);
}

// Zeros, aligned to a cache line. Nothing is freed: it is needed to the end.
static void *allocate(uint64_t count, size_t size) {
    char *block = count < (SIZE_MAX - 64) / size ? calloc(1, (size_t)count * size + 64) : NULL;
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

// Decodes the UTF-8 character at s, which has n > 0 bytes. Returns its length; 0 if ill-formed.
static size_t read_utf8(const unsigned char *s, size_t n, uint32_t *code) {
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000}; // code of each length
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xC0 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3
                  : s[0] < 0xF8 ? 4 : 0;
    if (length == 0 || length > n) return 0;
    *code = length == 1 ? s[0] : s[0] & 0x7Fu >> length; // without the bits that give the length
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        *code = *code << 6 | (s[i] & 0x3F);
    }
    int surrogate = *code >= 0xD800 && *code <= 0xDFFF; // half of a UTF-16 pair
    return *code < lowest[length] || *code > 0x10FFFF || surrogate ? 0 : length;
}

// Reads a character of text, which has n > 0 bytes. Returns its length, and its token, which is 0
// if the model does not know it.
static size_t read_token(const Model *m, const unsigned char *text, size_t n, int32_t *token) {
    uint32_t code;
    size_t length = read_utf8(text, n, &code);
    size_t found = length > 0 ? find(m->code, 1, m->vocab_size, code) : m->vocab_size;
    *token = found < m->vocab_size ? (int32_t)found : 0;
    return length > 0 ? length : 1;
}

// White space as in Python's str.strip(), which mlp.py uses.
static int is_space(uint32_t code) {
    return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 ||
           code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
           code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

typedef struct {
    unsigned char *file, *at, *end; // the text; its unread part is from at to end
    unsigned char *text;     // the current line, without the white space around it
    size_t length;
    unsigned long number;    // of the line, from 1
} Lines;

static Lines open_lines(const char *path) {
    size_t size;
    unsigned char *file = read_file(path, "", &size);
    size_t mark = size >= 3 && memcmp(file, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; // a byte-order mark
    return (Lines){file, file + mark, file + size, NULL, 0, 0};
}

// Finds the next line that is not blank. Returns 0 if there is none.
static int next_line(Lines *lines) {
    for (lines->length = 0; lines->at < lines->end;) {
        unsigned char *start = lines->at;
        uint32_t code = 0;
        size_t n = read_utf8(start, (size_t)(lines->end - start), &code);
        lines->at += n > 0 ? n : 1; // an invalid byte is as good as a character
        if (n == 0 || !is_space(code)) {
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

static uint64_t hash_of(const unsigned char *line, size_t n) {
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++) hash = splitmix64(hash + line[i]);
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
// Reading a model. Nothing in the file is trusted: every number is checked when it is read, and
// memory is taken only for what the file is long enough to hold.

typedef struct {
    const char *path;
    const unsigned char *at, *end; // what is not read yet
} Reader;

static void damaged(const Reader *r, const char *how) {
    say(1, "%s is damaged: %s", r->path, how);
}

static void need(const Reader *r, uint64_t n) {
    if (n > (size_t)(r->end - r->at)) damaged(r, "it is too short");
}

// The next n bytes.
static const unsigned char *take(Reader *r, size_t n) {
    need(r, n);
    r->at += n;
    return r->at - n;
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

static uint32_t read_uint32(Reader *r, uint32_t lowest, uint32_t highest) {
    uint32_t number = little_endian(take(r, 4));
    if (number < lowest || number > highest) damaged(r, "its sizes are out of range");
    return number;
}

static double read_double(Reader *r, double highest) {
    uint64_t bits = read_uint32(r, 0, UINT32_MAX);
    bits |= (uint64_t)read_uint32(r, 0, UINT32_MAX) << 32;
    double number;
    memcpy(&number, &bits, 8);
    if (!(number >= 0 && number <= highest)) damaged(r, "a discount or the weight is out of range");
    return number;
}

// A number in LEB128: 7 bits per byte, the lowest first; the top bit is set in all but the last.
static uint32_t read_number(Reader *r, uint32_t lowest, uint32_t highest) {
    uint64_t number = 0;
    unsigned char byte = 0x80;
    unsigned shift = 0;
    for (; byte >= 0x80 && shift < 35; shift += 7) {
        byte = *take(r, 1);
        number |= (uint64_t)(byte & 0x7F) << shift;
    }
    if (byte >= 0x80 || (byte == 0 && shift > 7) || number < lowest || number > highest) {
        damaged(r, "its n-grams are out of range");
    }
    return (uint32_t)number;
}

// A weight. Below 2^50, no sum in forward() overflows or is a nan, whose sign differs by machine.
static float read_float(Reader *r) {
    uint32_t bits = read_uint32(r, 0, UINT32_MAX), exponent = bits >> 23 & 0xFF;
    if (exponent >= 127 + 50) damaged(r, "a weight is not finite, or 2^50 or more");
    return float_of(bits);
}

static void read_vocab(Reader *r, Model *m) {
    need(r, 2 * m->vocab_size); // a token has at least two bytes
    m->vocab = allocate(m->vocab_size, sizeof(Token));
    m->code = allocate(m->vocab_size, sizeof(uint32_t));
    for (size_t v = 0; v < m->vocab_size; v++) {
        uint8_t length = *take(r, 1);
        const unsigned char *utf8 = take(r, length);
        if (length == 0 || read_utf8(utf8, length, &m->code[v]) != length) {
            damaged(r, "a token is not a character");
        }
        if ((v == 0) != (m->code[v] == '\n') || (v > 1 && m->code[v - 1] >= m->code[v])) {
            damaged(r, "its vocabulary is out of order");
        }
        m->vocab[v].length = length;
        memcpy(m->vocab[v].utf8, utf8, length);
    }
}

static void read_network(Reader *r, Model *m) {
    size_t B = m->block_size, V = m->vocab_size, E = m->n_embd, H = m->n_hidden;
    need(r, 4 * ((uint64_t)V * E + (uint64_t)B * E * H + H + (uint64_t)H * V + V));
    m->n_groups = (V + WIDTH - 1) / WIDTH;
    m->n_inputs = (H + 3) / 4 * 4;
    m->n_rows = ROWS_MEMORY / (H * sizeof(float));
    if (m->n_rows > B * V) m->n_rows = B * V;
    m->C = allocate((uint64_t)V * E, sizeof(float));
    m->W1 = allocate((uint64_t)B * E * H, sizeof(float));
    m->b1 = allocate(H, sizeof(float));
    m->W2 = allocate((uint64_t)m->n_groups * m->n_inputs, WIDTH * sizeof(float));
    m->b2 = allocate(m->n_groups, WIDTH * sizeof(float));
    m->h = allocate(m->n_inputs, sizeof(float));
    m->logits = allocate(m->n_groups, WIDTH * sizeof(float));
    m->rows = allocate(m->n_rows, H * sizeof(float));
    m->row_key = allocate(m->n_rows, sizeof(uint32_t));
    for (size_t i = 0; i < V * E; i++) m->C[i] = read_float(r);
    for (size_t i = 0; i < B * E * H; i++) m->W1[i] = read_float(r);
    for (size_t j = 0; j < H; j++) m->b1[j] = read_float(r);
    for (size_t j = 0; j < H; j++) {
        for (size_t v = 0; v < V; v++) {
            m->W2[(v / WIDTH * m->n_inputs + j) * WIDTH + v % WIDTH] = read_float(r);
        }
    }
    for (size_t v = 0; v < V; v++) m->b2[v] = read_float(r);
}

// Reads the sizes of n groups of tokens, total in all, and these tokens, sorted in each group. Sets
// first (n + 1) to where each group starts, and tokens (total).
static void read_groups(Reader *r, uint32_t n, uint32_t smallest, uint32_t total,
                        uint32_t vocab_size, uint32_t **first, uint32_t **tokens) {
    uint64_t sum = 0;
    need(r, (uint64_t)n + total); // a number has at least one byte
    uint32_t *f = *first = allocate((uint64_t)n + 1, sizeof **first);
    uint32_t *t = *tokens = allocate(total, sizeof **tokens);
    for (uint32_t i = 0; i < n; i++) {
        sum += read_number(r, smallest, vocab_size);
        f[i + 1] = (uint32_t)sum;
    }
    if (sum != total) damaged(r, "its n-grams do not add up");
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t at = f[i]; at < f[i + 1]; at++) {
            t[at] = read_number(r, at > f[i] ? t[at - 1] + 1 : 0, vocab_size - 1);
        }
    }
}

// Reads order, which order[-1] comes before if k > 0.
static void read_order(Reader *r, uint32_t vocab_size, size_t k, Order *order) {
    uint32_t n = order->n_contexts;
    if (k > 0) {
        read_groups(r, order[-1].n_contexts, 0, n, vocab_size,
                    &order[-1].first_child, &order->left);
    }
    read_groups(r, n, 1, order->n_grams, vocab_size, &order->first_gram, &order->token);
    need(r, order->n_grams);
    order->kept = allocate(order->n_grams, sizeof(double));
    order->backoff = allocate(n, sizeof(double));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t start = order->first_gram[i], end = order->first_gram[i + 1];
        double total = 0, taken = 0;
        for (uint32_t g = start; g < end; g++) {
            uint32_t count = read_number(r, 1, UINT32_MAX);
            double discount = order->discount[count < 3 ? count - 1 : 2];
            total += count;
            taken += discount;
            order->kept[g] = count - discount;
        }
        for (uint32_t g = start; g < end; g++) order->kept[g] /= total;
        order->backoff[i] = taken / total;
    }
}

// What version 2 adds: the weight of the network, and the n-grams.
static void read_ngrams(Reader *r, Model *m) {
    m->weight = read_double(r, 1);
    m->n_orders = read_uint32(r, 0, MAX_CONTEXT + 1);
    if ((m->n_orders == 0 && m->weight != 1) || (m->n_hidden == 0 && m->weight != 0)) {
        damaged(r, "the weight of its network is wrong");
    }
    m->orders = allocate(m->n_orders, sizeof(Order));
    for (size_t k = 0; k < m->n_orders; k++) {
        m->orders[k].n_contexts = read_uint32(r, 1, k == 0 ? 1 : UINT32_MAX);
        m->orders[k].n_grams = read_uint32(r, 1, UINT32_MAX);
        for (int i = 0; i < 3; i++) m->orders[k].discount[i] = read_double(r, i + 1);
    }
    for (size_t k = 0; k < m->n_orders; k++) {
        read_order(r, (uint32_t)m->vocab_size, k, &m->orders[k]);
    }
}

static void read_model(Model *m, const char *path) {
    size_t size;
    unsigned char *file = read_file(path, "NPLM", &size);
    if (size < 28 || memcmp(file, "NPLM", 4) != 0) {
        say(1, "%s is not a model written by export.py", path);
    }
    Reader reader = {path, file + 4, file + size - 4}, *r = &reader;
    if (little_endian(r->end) != crc32(file, size - 4)) damaged(r, "its checksum is wrong");
    uint32_t version = read_uint32(r, 0, UINT32_MAX);
    if (version < 1 || version > 2) say(1, "%s is of another version: run export.py again", path);
    uint32_t network = version == 1 || little_endian(r->at) > 0; // 0 or 1
    m->block_size = read_uint32(r, network, network * MAX_CONTEXT);
    m->vocab_size = read_uint32(r, 2, 0x110000); // as many as Unicode has
    m->n_embd = read_uint32(r, network, network * 1024); // the limits of mlp.py
    m->n_hidden = read_uint32(r, network, network * 65536);
    m->weight = 1;
    read_vocab(r, m);
    take(r, (4 - (size_t)(r->at - file) % 4) % 4); // zeros, up to a multiple of 4
    if (network) read_network(r, m);
    if (version == 2) read_ngrams(r, m);
    if (r->at < r->end) damaged(r, "it is too long");
    free(file);
}

// -----------------------------------------------------------------------------
// Scoring and generating

typedef struct {
    const char *model, *prefix, *scored;
    char **excluded; // (n_excluded): the files of -x
    int n_excluded, unique, seeded;
    uint64_t n_names, first;
} Options;

static void set_up(Sampler *s) {
    const Model *m = &s->model;
    size_t vocab_size = m->vocab_size;
    s->context_size = m->block_size > 1 ? m->block_size : 1; // 1, for sample_batch()
    if (m->n_orders > s->context_size + 1) s->context_size = m->n_orders - 1;
    if (s->top_k == 0 || s->top_k > vocab_size) s->top_k = vocab_size;
    if (s->temperature == 0) { // the limit: the likeliest
        s->temperature = 1;
        s->top_k = 1;
    }
    s->mixed = allocate(vocab_size, sizeof(double));
    s->p = allocate(vocab_size, sizeof(float));
    s->ranking = allocate(vocab_size, sizeof(Candidate));
    s->threshold = allocate(vocab_size, sizeof(int32_t));
    s->entry_size = (4 + vocab_size + LINE - 1) / LINE * LINE;
    // odd, or the first tokens of long contexts would leave the key; and 3 or 5 modulo 8, or two
    // long contexts like abbabaab and baababba would have the same
    for (s->base = vocab_size | 1; s->base % 8 == 1 || s->base % 8 == 7;) s->base += 2;
    s->n_sets = CACHE_MEMORY / 4 / s->entry_size;
    s->top_weight = 1;
    double n_keys = (double)s->base; // base^context_size: more sets are useless
    for (size_t i = 1; i < s->context_size; i++) {
        s->top_weight *= s->base;
        n_keys *= (double)s->base;
    }
    if (n_keys < (double)s->n_sets) s->n_sets = (size_t)n_keys;
    s->cache = allocate(s->n_sets, 2 * s->entry_size * sizeof(int16_t));
}

// The negative log-likelihood of a token after a context (context_size), at temperature 1.
static float compute_nll(Sampler *s, const int32_t *context, int32_t token) {
    const Model *m = &s->model;
    if (m->n_orders == 0) { // -log(exp(logit) / total)
        softmax(s, context, 1);
        return (float)logarithm(sum_of(s->p, m->vocab_size)) - m->logits[token];
    }
    mix(s, context);
    return s->mixed[token] > 1e-300 ? (float)logarithm(1 / s->mixed[token]) : INFINITY;
}

// The same, in a direct-mapped cache.
static float nll_of(Sampler *s, const int32_t *context, int32_t token) {
    static struct { uint64_t key; float nll; } cache[1 << 17], *place;
    uint64_t key = key_of(s, context) * s->base + (uint64_t)token + 1; // 0 is an empty place
    place = &cache[key % (sizeof cache / sizeof *cache - 1)];
    if (place->key != key) place->nll = compute_nll(s, context, token);
    place->key = key;
    return place->nll;
}

// Prints for every line of a file the mean negative log-likelihood of its tokens, the boundary
// included, in nats. A line with a character that the model does not know is left out.
static void score(Sampler *s, const char *path) {
    double total = 0;
    unsigned long n_tokens = 0, n_bad = 0;
    Lines lines = open_lines(path);
    while (!ferror(stdout) && next_line(&lines)) {
        int32_t context[MAX_CONTEXT + 1] = {0}, token = 1; // context_size tokens, then the next one
        unsigned long count = 0;
        double nll = 0;
        for (size_t at = 0, length; token != 0; at += length, count++) {
            token = 0, length = 0; // the boundary, after the last character
            if (at < lines.length) {
                length = read_token(&s->model, lines.text + at, lines.length - at, &token);
                if (token == 0) {
                    if (n_bad++ == 0) {
                        say(0, "line %lu of %s is left out: the model does not know '%.*s'",
                            lines.number, path, (int)length, (char *)lines.text + at);
                    }
                    count = 0;
                    break;
                }
            }
            nll += (double)nll_of(s, context, token);
            context[s->context_size] = token;
            memmove(context, context + 1, s->context_size * sizeof *context);
        }
        if (count == 0) continue;
        total += nll;
        n_tokens += count;
        printf("%.6f\t", nll / (double)count);
        fwrite(lines.text, 1, lines.length, stdout);
        putchar('\n');
    }
    finish_output(); // if a line could not be printed, there is no mean
    if (n_bad) say(0, "left out %lu line%s of %s", n_bad, n_bad == 1 ? "" : "s", path);
    if (n_tokens == 0) say(1, "%s has no line to score", path);
    fprintf(stderr, "mean %.6f nats over %lu tokens\n", total / (double)n_tokens, n_tokens);
}

static void start_with(Sampler *s, const char *prefix) {
    const unsigned char *text = (const unsigned char *)prefix;
    size_t n = strlen(prefix), length;
    if (n > MAX_LEN) say(2, "the prefix has more than %d bytes", MAX_LEN);
    for (size_t at = 0; at < n; at += length, s->n_prefix++) {
        int32_t token, lower = 0;
        length = read_token(&s->model, text + at, n - at, &token);
        if (token == 0) {
            unsigned char small = text[at] | 0x20;
            if (text[at] >= 'A' && text[at] <= 'Z') read_token(&s->model, &small, 1, &lower);
            say(2, "the model does not know '%.*s', which is in the prefix%s", (int)length,
                prefix + at, lower ? "; try lower case" : "");
        }
        for (size_t i = 0; i < BATCH; i++) s->tokens[i][s->context_size + s->n_prefix] = token;
    }
}

// Prints names that are not in seen; with -u, adds them. It is not static: gcc might inline it into
// main(), which it believes to run once, and then not vectorize draw().
void generate(Sampler *s, const Options *o, Set *seen) {
    static char output[1 << 16];
    size_t n_bytes = 0;
    uint64_t n_printed = 0, number = o->first;
    int n_tries = 0;
    while (n_printed < o->n_names && n_tries < MAX_TRIES && !ferror(stdout)) {
        size_t n = o->n_names - n_printed < BATCH ? (size_t)(o->n_names - n_printed) : BATCH;
        sample_batch(s, number, n);
        number += n;
        for (size_t i = 0; i < n && n_tries < MAX_TRIES; i++) {
            char *name = output + n_bytes;
            size_t length = write_name(s, i, name);
            if (o->unique || o->n_excluded > 0) { // compared as lines are; a blank one is never new
                n_tries++;
                Lines line = {.at = (unsigned char *)name, .end = (unsigned char *)name + length};
                if (!next_line(&line)) continue;
                if (!is_new(seen, hash_of(line.text, line.length), o->unique)) continue;
                n_tries = 0;
            }
            n_printed++;
            name[length] = '\n';
            n_bytes += length + 1;
            if (n_bytes + 4 * (MAX_LEN + 1) > sizeof output) {
                fwrite(output, 1, n_bytes, stdout);
                n_bytes = 0;
            }
        }
    }
    fwrite(output, 1, n_bytes, stdout);
    finish_output();
    if (n_tries == MAX_TRIES) {
        say(1, "found %llu new names; then %d in a row were not new",
            (unsigned long long)n_printed, n_tries);
    }
}

// -----------------------------------------------------------------------------
// Command line

static const char usage[] =
    "usage: ./sample [MODEL] [-n NAMES] [-s SEED] [-f FIRST] [-t TEMPERATURE] [-k TOP_K]\n"
    "                [-p TOP_P] [-i PREFIX] [-x FILE] [-u] [-e FILE] [-h]\n"
    "Samples names, one per line, from a model written by export.py (MODEL: out/mlp.bin).\n"
    "  -n NAMES        how many to print (20)\n"
    "  -s SEED         the same seed gives the same names (taken from the clock, and shown)\n"
    "  -f FIRST        number of the first name (0), counting those that -x and -u leave out\n"
    "  -t TEMPERATURE  below 1 safer, above 1 bolder; 0 takes the likeliest (1)\n"
    "  -k TOP_K        sample from the TOP_K likeliest characters only (all)\n"
    "  -p TOP_P        sample from the fewest characters that add up to TOP_P (1)\n"
    "  -i PREFIX       start every name with PREFIX\n"
    "  -x FILE         leave out the names that are lines of FILE; may be given again\n"
    "  -u              print no name twice\n"
    "  -e FILE         score instead: the loss of every line of FILE, in nats per token\n"
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

static float parse_real(char option, const char *text, double highest) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= highest)) { // nan is in no range
        say(2, "-%c takes a number from 0 to %g, not '%s'", option, highest, text);
    }
    return (float)value;
}

static void parse_options(int argc, char **argv, Options *o, Sampler *s) {
    const uint64_t most = UINT64_MAX / MAX_LEN / 2; // a name takes MAX_LEN of 2^64 random numbers
    const char *sampling = NULL; // an option that is not for scoring
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
        switch (letter) {
            case 'n': o->n_names = parse_whole('n', value, 0, most); break;
            case 's': s->seed = parse_whole('s', value, 0, UINT64_MAX); o->seeded = 1; break;
            case 'f': o->first = parse_whole('f', value, 0, most); break;
            case 't': s->temperature = parse_real('t', value, 1000); break;
            case 'k': s->top_k = (size_t)parse_whole('k', value, 1, INT32_MAX); break;
            case 'p': s->top_p = parse_real('p', value, 1); break;
            case 'i': o->prefix = value; break;
            case 'x': o->excluded[o->n_excluded++] = value; break;
            case 'u': o->unique = 1; break;
            default: o->scored = value;
        }
        if (letter != 'e') sampling = option;
    }
    if (o->scored && sampling) say(2, "-e scores and does not sample: leave out %s", sampling);
}

// Whether the compiler rounds after every operation, and adds in source order: 1 / 4096 squared is
// lost if a * a is rounded, and 1 is lost beside 2^25.
static int is_exact(void) {
    volatile float a = 1 + 1.0f / 4096, b = 1 << 25, c = 1;
    float large = b, one = c;
    return a * a - (1 + 1.0f / 2048) == 0 && (large + one) - large == 0;
}

int main(int argc, char **argv) {
    static Sampler s = {.temperature = 1, .top_p = 1};
    Options o = {.model = NULL, .prefix = "", .n_names = 20};
    static Set seen; // static, for the tests' leak checker
    parse_options(argc, argv, &o, &s);
    if (!is_exact()) say(1, "built for other arithmetic: use -std=c11, no part of -ffast-math");
    read_model(&s.model, o.model ? o.model : "out/mlp.bin");
    set_up(&s);
    if (o.scored) {
        score(&s, o.scored);
        return 0;
    }
    start_with(&s, o.prefix);
    for (int i = 0; i < o.n_excluded; i++) {
        Lines lines = open_lines(o.excluded[i]);
        while (next_line(&lines)) is_new(&seen, hash_of(lines.text, lines.length), 1);
    }
    if (!o.seeded) {
        struct timespec now;
        timespec_get(&now, TIME_UTC); // 24 bits of it are short enough to retype
        s.seed = splitmix64((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) >> 40;
        fprintf(stderr, "seed %llu\n", (unsigned long long)s.seed);
    }
    s.seed = splitmix64(s.seed); // else two seeds could share a sequence, shifted
    generate(&s, &o, &seen);
    return 0;
}
