/*
Makes up names with a trained MLP. Loads the file that export.py writes; needs only a C compiler:

    cc -std=c11 -O3 sample.c -o sample
    ./sample                                            20 names from out/mlp.bin
    ./sample towns/mlp.bin -n 1000 -t 0.8 -i "Saint "   1000 towns that begin so, a little tamer
    ./sample -n 1000000 -u -x names.txt                 a million names, all different, all new
    ./sample -e names.txt                               the loss of every line under the model
    ./sample -h                                         all options

The model is that of mlp.py. A name is a row of tokens, one a character; token 0, the boundary,
stands before and after it. The embeddings of the last block_size tokens, the context, go through a
tanh layer and give a logit, a score, to every token that may follow. The softmax of the logits,
exp(logit) / sum of all exp(logit), are probabilities. The file reads in this order: format and
weights, forward, sampler, text, scoring and generating, command line.

The same model, seed and options give the same names on every machine, byte for byte: what reaches
the output is computed with + - * /, comparisons and whole numbers alone, in an order fixed by this
text. IEEE 754 defines each result to the last bit; the functions of libm it leaves open.
*/

#include <errno.h>
#include <float.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <sys/timeb.h>
#endif

#if FLT_EVAL_METHOD != 0
#error "float in a wider type: x86 needs -msse2 -mfpmath=sse, s390x -fexcess-precision=fast"
#elif defined __FAST_MATH__ || defined __ASSOCIATIVE_MATH__ || defined __RECIPROCAL_MATH__
#error "-ffast-math changes the order of sums: compile without it"
#elif defined __clang__
// a * b + c must round twice. gcc does so with -std=c11, clang if it is told to; main() checks it.
#pragma STDC FP_CONTRACT OFF
#endif

#define GOLDEN 0x9E3779B97F4A7C15 // 2^64 / the golden ratio: its multiples are spread evenly

enum {
    MAX_LEN = 1024,      // a name is cut at so many characters, so that none goes on for ever
    MAX_BLOCK = 256,     // the largest block_size, as in mlp.py
    MAX_TRIES = 1000000, // names drawn in a row that -x and -u leave out, before giving up
    MAX_LINE = 1 << 26,  // bytes in a line of a text file
    // these make it fast, as measured, and change no name
    LANES = 32,          // names under way side by side
    WIDTH = 32,          // outputs that are computed side by side
    ROWS_MEMORY = 8,     // MiB for the table of the first layer
    CONTEXT_MEMORY = 48, // MiB for the table of contexts
};

// Ends the program with one sentence on stderr: status 2 for a wrong command line, otherwise 1.
static _Noreturn void fail(int status, const char *format, ...) {
    va_list values;
    va_start(values, format);
    fputs("sample: ", stderr);
    vfprintf(stderr, format, values);
    fputs(status == 2 ? " (-h lists the options)\n" : "\n", stderr);
    va_end(values);
    exit(status);
}

static void *allocate(size_t count, size_t size) { // filled with zeros
    void *memory = calloc(count, size);
    if (!memory) fail(1, "not enough memory");
    return memory;
}

// Makes room for needed bytes in memory, which has *capacity of them. Returns where it is now.
static void *reserve(void *memory, size_t *capacity, size_t needed) {
    if (needed <= *capacity) return memory;
    *capacity = 2 * needed;
    memory = realloc(memory, *capacity);
    if (!memory) fail(1, "not enough memory");
    return memory;
}

// -----------------------------------------------------------------------------
// Format and weights. The format is described in export.py.

typedef struct {
    uint32_t code; // one Unicode character
    char utf8[4];
    size_t length; // of utf8
} Token;

typedef struct {
    size_t block_size, vocab_size, n_embd, n_hidden;
    Token *vocab;      // (vocab_size): the boundary, as a newline, then the others in rising order
    void *file;        // what C, W1 and b1 point into
    float *C;          // (vocab_size, n_embd)
    float *W1;         // (block_size, n_embd, n_hidden)
    float *b1;         // (n_hidden)
    // the second layer as forward() walks it: WIDTH outputs at a time, filled up with zeros
    size_t n_groups;   // vocab_size / WIDTH, rounded up
    size_t n_inputs;   // n_hidden, rounded up to a multiple of 4
    float *W2;         // (n_groups, n_inputs, WIDTH)
    float *b2;         // (n_groups, WIDTH)
    float *h;          // (n_inputs): the hidden layer, then zeros
    float *logits;     // (n_groups, WIDTH)
    float *rows;       // (n_rows, n_hidden): what share_of() has computed
    uint32_t *row_key; // (n_rows): for which position and token, plus 1; 0 is a row not yet used
    size_t n_rows;
} Model;

static uint32_t read_uint32(const unsigned char *p) { // little-endian, whatever the machine is
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

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

// Decodes the UTF-8 character at s, which has n > 0 bytes. Returns its length; 0 if ill-formed.
static size_t read_utf8(const unsigned char *s, size_t n, uint32_t *code) {
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000}; // that needs so many bytes
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xC0 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3
                  : s[0] < 0xF8 ? 4 : 0;
    if (length == 0 || length > n) return 0;
    *code = length == 1 ? s[0] : s[0] & 0x7Fu >> length; // without the bits that say the length
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        *code = *code << 6 | (s[i] & 0x3F);
    }
    int surrogate = *code >= 0xD800 && *code <= 0xDFFF; // half of a UTF-16 pair
    return *code < lowest[length] || *code > 0x10FFFF || surrogate ? 0 : length;
}

// Reads more of a file into data, *size bytes so far, until it has limit bytes or the file ends.
// Returns data, which may have moved. Memory is taken as bytes arrive, whatever a header promises.
static unsigned char *read_on(FILE *f, const char *path, unsigned char *data, size_t *size,
                              size_t limit) {
    size_t capacity = *size;
    while (*size < limit && !feof(f)) {
        data = reserve(data, &capacity, *size + 1);
        *size += fread(data + *size, 1, (capacity < limit ? capacity : limit) - *size, f);
        if (ferror(f)) fail(1, "cannot read %s: %s", path, strerror(errno));
    }
    return data;
}

// Reads a model. Nothing in the file is believed: sizes, length, checksum, vocabulary and weights
// are all checked.
static Model load(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) fail(1, "cannot open %s: %s; export.py writes models", path, strerror(errno));
    size_t size = 0;
    unsigned char *data = read_on(f, path, NULL, &size, 24);
    if (size < 24 || memcmp(data, "NPLM", 4) != 0) fail(1, "%s is not a model of export.py", path);
    unsigned long version = read_uint32(data + 4);
    if (version != 1) {
        fail(1, "%s has version %lu of the format, not 1; run export.py again", path, version);
    }
    // block_size, vocab_size, n_embd, n_hidden, and the ranges of mlp.py and Unicode for them
    size_t B = read_uint32(data + 8), V = read_uint32(data + 12);
    size_t E = read_uint32(data + 16), H = read_uint32(data + 20);
    if (B < 1 || B > MAX_BLOCK || V < 2 || V > 0x110000 || !E || E > 1024 || !H || H > 65536) {
        fail(1, "%s is damaged: its sizes are out of range", path);
    }
    // Header, weights, checksum; 2 to 5 bytes for a token, and 0 to 3 of padding. None of the sums
    // overflows within these ranges.
    uint64_t n_params = (uint64_t)V * E + (uint64_t)B * E * H + H + (uint64_t)H * V + V;
    uint64_t shortest = 24 + 2 * V + 4 * n_params + 4, longest = shortest + 3 * V + 3;
    // W2 is copied, and grows: 2 columns to WIDTH and 1 row to 4, at worst
    if (longest > SIZE_MAX / 2 / WIDTH) fail(1, "%s is too large for this machine", path);
    data = read_on(f, path, data, &size, (size_t)longest + 1); // does the file go on behind it?
    fclose(f);
    if (size < shortest || size > longest) fail(1, "%s is damaged: its length is wrong", path);
    if (read_uint32(data + size - 4) != crc32(data, size - 4)) {
        fail(1, "%s is damaged: its checksum is wrong", path);
    }

    Model m = {.block_size = B, .vocab_size = V, .n_embd = E, .n_hidden = H, .file = data};
    m.vocab = allocate(V, sizeof(Token));
    size_t at = 24;
    // at stays within data: a token takes up to 5 bytes, and there are 6 for it and its row of C
    for (size_t v = 0; v < V; v++) {
        Token *token = &m.vocab[v];
        token->length = data[at++];
        if (token->length == 0 ||
            read_utf8(data + at, token->length, &token->code) != token->length) {
            fail(1, "%s is damaged: a token is not a character", path);
        }
        // the boundary first, and only there; the others rise, as find_token() needs them
        if ((v == 0) != (token->code == '\n') || (v > 1 && token[-1].code >= token->code)) {
            fail(1, "%s is damaged: its vocabulary is out of order", path);
        }
        memcpy(token->utf8, data + at, token->length);
        at += token->length;
    }
    at = (at + 3) / 4 * 4;
    if (size != at + 4 * n_params + 4) fail(1, "%s is damaged: its length is wrong", path);

    // The bytes become floats where they lie; on most machines they already are. With weights below
    // 2^50 no sum in forward() overflows, and none is a nan, whose sign differs between machines.
    float *weights = (float *)(void *)(data + at);
    for (size_t i = 0; i < n_params; i++) {
        uint32_t bits = read_uint32(data + at + 4 * i);
        if ((bits >> 23 & 0xFF) >= 127 + 50) { // the exponent, which is stored plus 127
            fail(1, "%s has a weight that is not finite, or 2^50 or more", path);
        }
        weights[i] = float_of(bits);
    }
    m.C = weights;
    m.W1 = m.C + V * E;
    m.b1 = m.W1 + B * E * H;
    const float *W2 = m.b1 + H; // (n_hidden, vocab_size)
    const float *b2 = W2 + H * V; // (vocab_size)
    m.n_groups = (V + WIDTH - 1) / WIDTH;
    m.n_inputs = (H + 3) / 4 * 4;
    m.W2 = allocate(m.n_groups * m.n_inputs * WIDTH, sizeof(float));
    m.b2 = allocate(m.n_groups * WIDTH, sizeof(float));
    for (size_t v = 0; v < V; v++) {
        float *column = m.W2 + v / WIDTH * (m.n_inputs * WIDTH) + v % WIDTH; // its first number
        for (size_t j = 0; j < H; j++) column[j * WIDTH] = W2[j * V + v];
        m.b2[v] = b2[v];
    }
    m.h = allocate(m.n_inputs, sizeof(float));
    m.logits = allocate(m.n_groups * WIDTH, sizeof(float));
    m.n_rows = ((size_t)ROWS_MEMORY << 20) / (H * sizeof(float));
    if (m.n_rows > B * V) m.n_rows = B * V;
    m.rows = allocate(m.n_rows * H, sizeof(float));
    m.row_key = allocate(m.n_rows, sizeof(uint32_t));
    return m;
}

// -----------------------------------------------------------------------------
// Forward

// exp(x) to about a unit in the last place. An x beyond -87 or 87 is taken for these, where exp(x)
// and 1 / exp(x) still fit a float. No branch, no call: a compiler can work on many x at once.
static inline float exponential(float x) {
    uint32_t sign = bits_of(x) & 0x80000000, magnitude = bits_of(x) & 0x7FFFFFFF;
    x = float_of(sign | (magnitude < 0x42AE0000 ? magnitude : 0x42AE0000)); // the bits of 87.0f
    // x = n ln 2 + r with |r| of about ln 2 / 2 at most. A float near 1.5 * 2^23 has no bits behind
    // the point: adding that to x / ln 2 rounds to a whole number n, and leaves n in the lowest
    // bits, for a negative n as well, thanks to the 1.5.
    float shifted = x * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    // ln 2 in two parts, as in Cephes: the first is so short that n times it is exact
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    // Taylor's series of exp(r); what comes after r^7 is below the rounding
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    return float_of(bits_of(sum) + (bits_of(shifted) << 23)); // times 2^n: n goes to the exponent
}

static inline float tanh_(float x) { // to about 1e-7; small x lose digits, which does no harm here
    return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}

// What a token at a position of the context adds to the hidden layer, (n_hidden): C[token] times
// the rows of W1 for this position. There are few of these, needed again and again, and so they are
// kept. Where they are too many, some share a place, and the last one computed has it.
static const float *share_of(Model *m, size_t position, size_t token) {
    size_t n_hidden = m->n_hidden, key = position * m->vocab_size + token, place = key % m->n_rows;
    float *row = m->rows + place * n_hidden;
    if (m->row_key[place] != key + 1) {
        m->row_key[place] = (uint32_t)key + 1;
        const float *emb = m->C + token * m->n_embd;                 // (n_embd)
        const float *W1 = m->W1 + position * m->n_embd * n_hidden;   // (n_embd, n_hidden)
        memset(row, 0, n_hidden * sizeof(float));
        for (size_t e = 0; e < m->n_embd; e++) {
            for (size_t j = 0; j < n_hidden; j++) row[j] += emb[e] * W1[e * n_hidden + j];
        }
    }
    return row;
}

// The logits of all tokens that may follow a context (block_size), in m->logits (vocab_size).
static void forward(Model *m, const int32_t *context) {
    size_t n_hidden = m->n_hidden;
    float *h = m->h;
    memcpy(h, m->b1, n_hidden * sizeof(float));
    for (size_t position = 0; position < m->block_size; position++) {
        const float *row = share_of(m, position, (size_t)context[position]);
        for (size_t j = 0; j < n_hidden; j++) h[j] += row[j];
    }
    for (size_t j = 0; j < n_hidden; j++) h[j] = tanh_(h[j]);
    // Every output sums its inputs four by four, in the order written here: the additions wait for
    // each other less than one by one. A SIMD register holds sums of several outputs, never parts
    // of one sum, and so its width changes no result.
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
// Sampler

// What follows a context never changes. So it is computed when the context is met, and kept in a
// table until another context needs its place; soon most characters of a name are no more than a
// look-up. A place has the tokens of its context, and then a number for each token that may follow.

typedef union {
    int32_t key;       // a token of the context, plus 1; 0 is a place not yet used
    int32_t threshold; // of a token, when sampling
    float nll;         // of a token, when scoring: its negative log-likelihood
} Cell;

typedef struct {
    float p;
    int token;
} Candidate;

typedef struct {
    Model *model;
    int scoring;        // the table holds negative log-likelihoods, not thresholds
    float temperature, top_p;
    size_t top_k;
    uint64_t seed;
    Cell *table;        // (n_contexts, block_size + n_cells)
    size_t n_contexts;
    size_t n_cells;     // vocab_size, rounded up to a multiple of WIDTH
    int direct;         // every context has a place of its own
    uint64_t base, top_weight; // of hash_of(): its base, and base^(block_size - 1)
    float *p;           // (vocab_size): probabilities, but for a common factor
    Candidate *ranking; // (vocab_size): the same, the likeliest first
} Sampler;

// If there is room for every context that can be, which for names.txt is so up to block_size 3,
// each has a place of its own; else the table is a hash table.
static void set_up(Sampler *s, Model *m) {
    s->model = m;
    s->n_cells = m->n_groups * WIDTH;
    size_t n_bytes = (m->block_size + s->n_cells) * sizeof(Cell); // of a place
    uint64_t n_possible = 1; // vocab_size^block_size; but it stops growing before it could overflow
    s->n_contexts = ((size_t)CONTEXT_MEMORY << 20) / n_bytes;
    for (size_t i = 0; i < m->block_size && n_possible <= s->n_contexts; i++) {
        n_possible *= m->vocab_size;
    }
    s->direct = n_possible <= s->n_contexts;
    if (s->direct) s->n_contexts = (size_t)n_possible;
    s->base = s->direct ? m->vocab_size : GOLDEN;
    s->top_weight = 1;
    for (size_t i = 1; i < m->block_size; i++) s->top_weight *= s->base;
    s->table = allocate(s->n_contexts, n_bytes);
    s->p = allocate(m->vocab_size, sizeof(float));
    s->ranking = allocate(m->vocab_size, sizeof(Candidate));
}

// ln(x) for x >= 1, to about 1e-15, for scoring: x = 2^n m, and ln m = 2 artanh((m - 1) / (m + 1)).
static double logarithm(double x) {
    int n = 0;
    for (; x > 1.5; n++) x /= 2;
    double s = (x - 1) / (x + 1), sum = 0; // |s| <= 1/5
    for (int k = 21; k > 0; k -= 2) sum = sum * s * s + 1.0 / k;
    return n * 0.69314718055994531 + 2 * s * sum;
}

// For qsort: the likeliest first, equals in order of token, so that every qsort does the same.
static int by_probability(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    return x->p > y->p ? -1 : x->p < y->p ? 1 : x->token - y->token;
}

// Sets p to 0 for all but the top_k likeliest tokens, and then for all but the fewest of these that
// have at least top_p of their probability.
static void keep_likeliest(Sampler *s) {
    size_t vocab_size = s->model->vocab_size, kept = 0;
    double total = 0, sum = 0;
    for (size_t v = 0; v < vocab_size; v++) s->ranking[v] = (Candidate){s->p[v], (int)v};
    qsort(s->ranking, vocab_size, sizeof(Candidate), by_probability);
    for (size_t i = 0; i < s->top_k; i++) total += s->ranking[i].p;
    do {
        sum += s->ranking[kept].p;
        kept++;
    } while (kept < s->top_k && sum < s->top_p * total);
    for (size_t i = kept; i < vocab_size; i++) s->p[s->ranking[i].token] = 0;
}

// Computes the cells (vocab_size) of a context (block_size). When sampling, that of a token is the
// probability of all tokens up to it, times 2^30: a random number below 2^30 stands for the first
// token whose threshold is above it. When scoring, it is the negative logarithm of its own.
static void compute(Sampler *s, const int32_t *context, Cell *cells) {
    Model *m = s->model;
    forward(m, context);
    size_t likeliest = 0;
    for (size_t v = 1; v < m->vocab_size; v++) {
        if (m->logits[v] > m->logits[likeliest]) likeliest = v;
    }
    float highest = m->logits[likeliest];
    for (size_t v = 0; v < m->vocab_size; v++) {
        m->logits[v] -= highest; // it leaves the softmax as it is, and exp cannot overflow
        if (s->temperature > 0) s->p[v] = exponential(m->logits[v] / s->temperature);
        else s->p[v] = v == likeliest ? 1 : 0;
    }
    if (s->top_k < m->vocab_size || s->top_p < 1) keep_likeliest(s);
    double total = 0, sum = 0;
    for (size_t v = 0; v < m->vocab_size; v++) total += s->p[v];
    float log_total = s->scoring ? (float)logarithm(total) : 0; // total >= 1, the likeliest's p
    for (size_t v = 0; v < m->vocab_size; v++) {
        sum += s->p[v]; // at last total, to the last bit: it is the same sum
        if (s->scoring) cells[v].nll = log_total - m->logits[v]; // ln p is the logit
        else cells[v].threshold = (int32_t)(sum / total * (1 << 30));
    }
}

// Mixes the bits of a number, so that each depends on all. (This and the next function are
// SplitMix64, Steele, Lea and Flood 2014.)
static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

// A random number from 0 to 2^30 - 1: a counter times a constant, mixed. Any number of the sequence
// can be had at once. So every name has MAX_LEN of them to itself, one for each character, and does
// not depend on the names before it.
static int32_t random_number(uint64_t seed, uint64_t name, size_t at) {
    return (int32_t)(mix(seed + (name * MAX_LEN + at) * GOLDEN) >> 34);
}

// A hash of a context (block_size): its tokens as the digits of a number, modulo 2^64. With
// vocab_size as the base it is a different number, from 0 on, for each context.
static uint64_t hash_of(const Sampler *s, const int32_t *context) {
    uint64_t hash = 0;
    for (size_t i = 0; i < s->model->block_size; i++) {
        hash = hash * s->base + (uint64_t)context[i];
    }
    return hash;
}

// The place in the table for the context with this hash. Two contexts may have the same one.
static Cell *find_place(const Sampler *s, uint64_t hash) {
    // from 32 bits to below n_contexts by a product, which is faster than %
    if (!s->direct) hash = (mix(hash) >> 32) * s->n_contexts >> 32;
    return s->table + (size_t)hash * (s->model->block_size + s->n_cells);
}

// Computes what follows a context, and puts it at its place.
static void fill(Sampler *s, const int32_t *context, Cell *place) {
    size_t block_size = s->model->block_size;
    for (size_t i = 0; i < block_size; i++) place[i].key = context[i] + 1;
    compute(s, context, place + block_size);
    for (size_t v = s->model->vocab_size; v < s->n_cells; v++) {
        place[block_size + v].threshold = INT32_MAX; // above every random number
    }
}

// The cells (n_cells) of a context (block_size), at its place, which is filled if another context
// has it or none.
static inline const Cell *look_up(Sampler *s, const int32_t *context, Cell *place) {
    size_t block_size = s->model->block_size, i = 0;
    size_t n_keys = s->direct ? 1 : block_size; // no other can be there: is it filled at all?
    while (i < n_keys && place[i].key == context[i] + 1) i++;
    if (i < n_keys) fill(s, context, place);
    return place + block_size;
}

// A name under way. The context of its character number i begins at tokens[i].
typedef struct {
    int32_t tokens[MAX_BLOCK + MAX_LEN]; // block_size boundaries, then the name
    size_t length;                       // of the name
    uint64_t hash;                       // of the context of its next character
} Lane;

// Makes up the names first, first + 1, ..., one for each lane, which all begin with the length
// tokens in their lanes. They grow side by side, a character each in turn: first all their places
// in the table are touched, so that the processor waits for the memory of all at once, not for one
// after the other.
static void make_up(Sampler *s, Lane *lanes, size_t n_lanes, size_t length, uint64_t first) {
    size_t block_size = s->model->block_size;
    size_t growing[LANES], n_growing = n_lanes; // the lanes that have not met the boundary yet
    for (size_t i = 0; i < n_lanes; i++) {
        growing[i] = i;
        lanes[i].hash = hash_of(s, lanes[i].tokens + length);
    }
    for (size_t at = length; at < MAX_LEN && n_growing > 0; at++) {
        Cell *places[LANES];
        for (size_t g = 0; g < n_growing; g++) {
            places[g] = find_place(s, lanes[growing[g]].hash);
            (void)*(volatile int32_t *)&places[g][0].key; // volatile: not optimised away
        }
        size_t n = n_growing;
        n_growing = 0; // those that go on move to the front of growing
        for (size_t g = 0; g < n; g++) {
            Lane *lane = &lanes[growing[g]];
            const Cell *cells = look_up(s, lane->tokens + at, places[g]);
            // the token is the number of thresholds that are not above the random number: counted
            // without a branch, WIDTH at a time, which becomes SIMD
            int32_t drawn = random_number(s->seed, first + growing[g], at), token = 0;
            for (size_t v = 0; v < s->n_cells; v += WIDTH) {
                for (size_t w = 0; w < WIDTH; w++) token += cells[v + w].threshold <= drawn;
            }
            lane->tokens[block_size + at] = token;
            // the context moves on: its first digit goes, the others move up, the token is the last
            lane->hash -= (uint64_t)lane->tokens[at] * s->top_weight;
            lane->hash = lane->hash * s->base + (uint64_t)token;
            lane->length = at + (token != 0); // no if, for no processor foresees where a name ends
            growing[n_growing] = growing[g];
            n_growing += token != 0;
        }
    }
}

// -----------------------------------------------------------------------------
// Text

// White space as in Python's str.strip(), which mlp.py uses.
static int is_space(uint32_t code) {
    return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 ||
           code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
           code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

typedef struct {
    FILE *f;
    const char *path;
    unsigned long number; // of the line, from 1
    unsigned char *text;  // the line, without the white space around it
    size_t length, capacity;
} Lines;

static Lines open_lines(const char *path) {
    Lines lines = {fopen(path, "rb"), path, 0, NULL, 0, 0};
    if (!lines.f) fail(1, "cannot open %s: %s", path, strerror(errno));
    return lines;
}

// Reads the next line that is not blank, and leaves room for a newline behind it. Returns 0 at the
// end of the file, which is then closed.
static int next_line(Lines *lines) {
    int c;
    do {
        size_t n = 0, start = 0, end = 0;
        while ((c = getc(lines->f)) != EOF && c != '\n') {
            if (n == MAX_LINE) fail(1, "%s has a line that is too long", lines->path);
            lines->text = reserve(lines->text, &lines->capacity, n + 2);
            lines->text[n++] = (unsigned char)c;
        }
        if (ferror(lines->f)) fail(1, "cannot read %s: %s", lines->path, strerror(errno));
        if (lines->number++ == 0 && n >= 3 && memcmp(lines->text, "\xEF\xBB\xBF", 3) == 0) {
            start = end = 3; // a byte-order mark
        }
        size_t length;
        for (size_t at = start; at < n; at += length) {
            uint32_t code;
            length = read_utf8(lines->text + at, n - at, &code);
            if (length > 0 && is_space(code)) continue;
            if (length == 0) length = 1; // a byte that is no character
            if (start == end) start = at; // the first that is no white space
            end = at + length; // behind the last so far
        }
        lines->length = end - start;
        if (start > 0) memmove(lines->text, lines->text + start, lines->length);
    } while (lines->length == 0 && c != EOF);
    if (lines->length > 0) return 1;
    fclose(lines->f);
    free(lines->text);
    return 0;
}

// The token of a character; 0, the boundary, if the model does not know it.
static int32_t find_token(const Model *m, uint32_t code) {
    size_t low = 1, high = m->vocab_size; // if anywhere, it is in vocab[low] to vocab[high - 1]
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->vocab[middle].code == code) return (int32_t)middle;
        if (m->vocab[middle].code > code) high = middle;
        else low = middle + 1;
    }
    return 0;
}

// Writes the tokens of text, which has n bytes, and returns their number. Where the model lacks a
// character it stops: *bad_length bytes from *bad_at on. If all is well, *bad_length is 0.
static size_t encode(const Model *m, const unsigned char *text, size_t n, int32_t *tokens,
                     size_t *bad_at, size_t *bad_length) {
    size_t count = 0, length;
    for (size_t at = 0; at < n; at += length, count++) {
        uint32_t code;
        length = read_utf8(text + at, n - at, &code);
        tokens[count] = length > 0 ? find_token(m, code) : 0;
        if (tokens[count] == 0) {
            *bad_at = at;
            *bad_length = length > 0 ? length : 1;
            return count;
        }
    }
    *bad_length = 0;
    return count;
}

// -----------------------------------------------------------------------------
// Scoring and generating

// Prints the mean negative log-likelihood of a token, in nats, for every line of a file, the
// boundary behind the line included. A line with a character that the model does not know has no
// likelihood, and is left out.
static void score(Sampler *s, const char *path) {
    size_t block_size = s->model->block_size, capacity = 0, bad_at, bad_length;
    int32_t *tokens = NULL; // block_size boundaries, then the line
    double total = 0;
    unsigned long n_tokens = 0, left_out = 0;
    Lines lines = open_lines(path);
    while (!ferror(stdout) && next_line(&lines)) {
        tokens = reserve(tokens, &capacity, (block_size + lines.length + 1) * sizeof *tokens);
        memset(tokens, 0, block_size * sizeof *tokens);
        int32_t *line = tokens + block_size;
        size_t count = encode(s->model, lines.text, lines.length, line, &bad_at, &bad_length);
        if (bad_length > 0) {
            if (left_out++ == 0) {
                fprintf(stderr, "sample: line %lu is left out: the model does not know '%.*s'\n",
                        lines.number, (int)bad_length, (const char *)lines.text + bad_at);
            }
            continue;
        }
        line[count] = 0; // the boundary
        double nll = 0;
        for (size_t i = 0; i <= count; i++) {
            Cell *place = find_place(s, hash_of(s, tokens + i));
            nll += (double)look_up(s, tokens + i, place)[line[i]].nll;
        }
        total += nll;
        n_tokens += (unsigned long)count + 1;
        printf("%.6f\t", nll / (double)(count + 1));
        fwrite(lines.text, 1, lines.length, stdout);
        putchar('\n');
    }
    free(tokens);
    if (left_out) fprintf(stderr, "sample: %lu lines of %s are left out in all\n", left_out, path);
    if (n_tokens == 0) fail(1, "%s holds no line to score", path);
    fprintf(stderr, "mean %.6f nats over %lu tokens\n", total / (double)n_tokens, n_tokens);
}

typedef struct { // a hash set of lines, for -x and -u
    char *text;    // all its lines, each with its newline
    size_t size, capacity;
    size_t *slots; // (n_slots): where in text a line starts, plus 1; 0 is a slot not in use
    size_t n_slots, count; // n_slots is a power of two
} Set;

// The slot of a line of n bytes, newline included: the one that has it, else the one to put it in.
static size_t *find_slot(const Set *set, const char *line, size_t n) {
    uint64_t hash = 0;
    for (size_t i = 0; i < n; i++) hash = mix(hash + (unsigned char)line[i]);
    size_t slot = (size_t)hash & (set->n_slots - 1);
    while (set->slots[slot]) {
        size_t start = set->slots[slot] - 1;
        if (set->size - start >= n && memcmp(set->text + start, line, n) == 0) break;
        slot = (slot + 1) & (set->n_slots - 1);
    }
    return &set->slots[slot];
}

static void insert(Set *set, const char *line, size_t n) {
    if (2 * set->count >= set->n_slots) { // at most half full, so that a search is short
        Set larger = *set;
        larger.n_slots = set->n_slots ? 2 * set->n_slots : 1024;
        larger.slots = allocate(larger.n_slots, sizeof *larger.slots);
        for (size_t start = 0, length; start < set->size; start += length) {
            const char *old = set->text + start, *end = memchr(old, '\n', set->size - start);
            length = (size_t)(end - old) + 1;
            *find_slot(&larger, old, length) = start + 1;
        }
        free(set->slots);
        *set = larger;
    }
    size_t *slot = find_slot(set, line, n);
    if (*slot) return;
    set->text = reserve(set->text, &set->capacity, set->size + n);
    memcpy(set->text + set->size, line, n);
    *slot = set->size + 1;
    set->size += n;
    set->count++;
}

// Prints n_names names that begin with prefix. With excluded, the path of a file, none is a line of
// it; with unique, none comes twice; with either, none is empty.
static void generate(Sampler *s, const char *prefix, uint64_t n_names, const char *excluded,
                     int unique) {
    // static, hence zeros: the boundaries before each name
    static Lane lanes[LANES];
    static char output[LANES * (4 * MAX_LEN + 1)]; // a character takes at most 4 bytes
    const Model *m = s->model;
    size_t n_bytes = strlen(prefix), bad_at, bad_length;
    const unsigned char *text = (const unsigned char *)prefix;
    if (n_bytes > MAX_LEN) fail(1, "the prefix is too long: more than %d bytes", MAX_LEN);
    size_t n_tokens = encode(m, text, n_bytes, lanes[0].tokens + m->block_size, &bad_at,
                             &bad_length);
    if (bad_length > 0) {
        fail(1, "the model does not know '%.*s', which is in the prefix", (int)bad_length,
             prefix + bad_at);
    }
    lanes[0].length = n_tokens; // which it remains if a name can be no longer
    for (size_t i = 1; i < LANES; i++) lanes[i] = lanes[0];

    Set set = {0};
    insert(&set, "\n", 1); // the empty name is never new; and find_slot() needs a set with slots
    if (excluded) {
        Lines lines = open_lines(excluded);
        while (next_line(&lines)) {
            lines.text[lines.length] = '\n';
            insert(&set, (const char *)lines.text, lines.length + 1);
        }
    }
    uint64_t n_printed = 0, first = 0;
    int n_tries = 0;
    while (n_printed < n_names && !ferror(stdout)) {
        char *end = output;
        size_t n_lanes = n_names - n_printed < LANES ? (size_t)(n_names - n_printed) : LANES;
        make_up(s, lanes, n_lanes, n_tokens, first);
        first += n_lanes;
        for (size_t i = 0; i < n_lanes; i++) {
            char *name = end;
            for (size_t at = 0; at < lanes[i].length; at++) {
                const Token *token = &m->vocab[lanes[i].tokens[m->block_size + at]];
                memcpy(end, token->utf8, 4); // always 4, which is faster; the next overwrites them
                end += token->length;
            }
            *end++ = '\n';
            size_t n = (size_t)(end - name);
            if ((excluded || unique) && *find_slot(&set, name, n)) {
                end = name;
                if (++n_tries == MAX_TRIES) {
                    fwrite(output, 1, (size_t)(end - output), stdout);
                    fail(1, "found %llu new names; then %d in a row were not new",
                         (unsigned long long)n_printed, n_tries);
                }
                continue;
            }
            n_tries = 0;
            if (unique) insert(&set, name, n);
            n_printed++;
        }
        fwrite(output, 1, (size_t)(end - output), stdout);
    }
    free(set.text);
    free(set.slots);
}

// -----------------------------------------------------------------------------
// Command line

static const char usage[] =
    "usage: ./sample [MODEL] [-n NAMES] [-s SEED] [-t TEMPERATURE] [-k TOP_K] [-p TOP_P]\n"
    "                [-i PREFIX] [-x FILE] [-u] [-e FILE] [-h]\n"
    "Makes up names, one a line, with a model written by export.py (MODEL: out/mlp.bin).\n"
    "  -n NAMES        how many to print (20)\n"
    "  -s SEED         the same seed gives the same names (taken from the clock, and shown)\n"
    "  -t TEMPERATURE  below 1 closer to the data, above 1 bolder; 0 takes the likeliest (1)\n"
    "  -k TOP_K        draw from the TOP_K likeliest characters only (all)\n"
    "  -p TOP_P        draw from the fewest characters that have the probability TOP_P (1)\n"
    "  -i PREFIX       begin every name with PREFIX\n"
    "  -x FILE         leave out the names that are lines of FILE\n"
    "  -u              print no name twice\n"
    "  -e FILE         score instead: the loss of every line of FILE, in nats a token\n"
    "  -h              show this\n";

static uint64_t parse_whole(const char *option, const char *text, uint64_t lowest,
                            uint64_t highest) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < lowest || value > highest) {
        fail(2, "%s takes a whole number from %llu to %llu, not '%s'", option,
             (unsigned long long)lowest, (unsigned long long)highest, text);
    }
    return value;
}

static float parse_real(const char *option, const char *text, double lowest, double highest) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= lowest && value <= highest)) { // nan is in no range
        fail(2, "%s takes a number from %g to %g, not '%s'", option, lowest, highest, text);
    }
    return (float)value;
}

static void finish_output(void) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return;
#ifdef EPIPE
    if (errno == EPIPE) exit(1); // head, say, has read enough: no error worth a sentence
#endif
    fail(1, "cannot write the output: %s", strerror(errno));
}

int main(int argc, char **argv) {
    const char *path = NULL, *prefix = "", *excluded = NULL, *scored = NULL;
    uint64_t n_names = 20, seed = 0, top_k = INT32_MAX;
    float temperature = 1, top_p = 1;
    int seeded = 0, unique = 0;
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (option[0] != '-') {
            if (path) fail(2, "there is one model too many: '%s'", option);
            path = option;
            continue;
        }
        int letter = option[1] && !option[2] ? option[1] : 0;
        if (letter == 'h') {
            fputs(usage, stdout);
            finish_output();
            return 0;
        }
        if (letter == 'u') {
            unique = 1;
            continue;
        }
        if (!letter || !strchr("nstkpixe", letter)) fail(2, "there is no option '%s'", option);
        if (++i == argc) fail(2, "%s needs a value", option);
        const char *value = argv[i];
        // a name takes MAX_LEN of the 2^64 random numbers
        if (letter == 'n') n_names = parse_whole(option, value, 0, UINT64_MAX / MAX_LEN / 2);
        if (letter == 's') seed = parse_whole(option, value, 0, UINT64_MAX), seeded = 1;
        if (letter == 't') temperature = parse_real(option, value, 0, 1000);
        if (letter == 'k') top_k = parse_whole(option, value, 1, INT32_MAX);
        if (letter == 'p') top_p = parse_real(option, value, 0, 1);
        if (letter == 'i') prefix = value;
        if (letter == 'x') excluded = value;
        if (letter == 'e') scored = value;
    }
#ifdef _WIN32
    _setmode(_fileno(stdout), _O_BINARY); // a newline is one byte everywhere
#endif

    volatile float a = 1 + 1.0f / 4096; // its square ends in a bit that a float has no room for
    if (a * a - (1 + 1.0f / 2048) != 0) {
        fail(1, "built to round a * b + c once: build with -std=c11, without -ffp-contract=fast");
    }

    Model m = load(path ? path : "out/mlp.bin");
    Sampler s = {.temperature = 1, .top_p = 1, .top_k = m.vocab_size};
    set_up(&s, &m);

    if (scored) {
        s.scoring = 1;
        score(&s, scored);
    } else {
        s.temperature = temperature;
        s.top_p = top_p;
        if (top_k < s.top_k) s.top_k = (size_t)top_k;
        if (!seeded) {
#ifdef _WIN32 // which may lack timespec_get()
            struct __timeb64 stamp;
            _ftime64(&stamp);
            struct timespec now = {stamp.time, 1000000 * stamp.millitm};
#else
            struct timespec now;
            timespec_get(&now, TIME_UTC);
#endif
            // 24 bits of it, to be typed again
            seed = mix((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) >> 40;
            fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        }
        s.seed = mix(seed); // else the numbers of two seeds might be the same, shifted
        generate(&s, prefix, n_names, excluded, unique);
    }
    finish_output();
    void *all[] = {m.file, m.vocab, m.W2, m.b2, m.h, m.logits, m.rows, m.row_key,
                   s.table, s.p, s.ranking};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    return 0;
}
