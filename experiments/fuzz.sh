#!/usr/bin/env bash
# Runs sample.c under libFuzzer: RUNS files as they come, where few get past the checksum, and RUNS
# files whose checksum is corrected first. Needs clang, and Python for the files that it starts from.
# 200,000 runs take some minutes.
#
#     experiments/fuzz.sh [RUNS]      # make fuzz RUNS=10000000

set -e
cd "$(dirname "$0")/.."
command -v clang > /dev/null || { echo "fuzz: no clang, which libFuzzer is part of" >&2; exit 1; }
mkdir -p out/fuzz/seeds
# It starts from small models of "a", "ab" and "é": a network, n-grams, and both; and from text.
python3 - << 'END'
import struct, zlib
def floats(n, scale=0.1):
    return struct.pack(f"<{n}f", *(scale * ((7 * i) % 11 - 5) for i in range(n)))
V, text = 4, "\naabé".encode()
n_bytes, starts = len(text), [0, 1, 2, 4, 6]
B, E, H, n_inputs = 2, 2, 5, 8
W2 = struct.pack(f"<{n_inputs * 16}f", *(0.3 * ((j * V + v) % 9 - 4) if j < H and v < V else 0
                                        for j in range(n_inputs) for v in range(16)))
network = [floats(V * E), floats(B * E * H), floats(H), W2, floats(V) + bytes(4 * (16 - V))]
# the contexts are the empty one, "a" and "é", and "ab" before "é"
ngrams = [struct.pack("<4I", 0, 1, 3, 2), struct.pack("<5I", 1, 3, 3, 4, 4),
          struct.pack("<5I", 0, 4, 6, 7, 8), struct.pack("<8I", 0, 1, 2, 3, 0, 2, 1, 3),
          struct.pack("<8f", 0.2, 0.3, 0.1, 0.2, 0.5, 0.25, 0.75, 0.5),
          struct.pack("<4f", 0.2, 0.25, 0.25, 0.5)]
nothing = [b"", b"", b"", b"", bytes(64)]
empty = [b"", bytes(4), bytes(4), b"", b"", b""]
for name, sizes, arrays in (
        ("network", (B, E, H, 0, 0, 0), [*network, struct.pack("<f", 1), *empty]),
        ("ngrams", (0, 0, 0, 4, 8, 2), [*nothing, struct.pack("<f", 0), *ngrams]),
        ("mixture", (B, E, H, 4, 8, 2), [*network, struct.pack("<f", 0.5), *ngrams])):
    data = struct.pack("<4s9I24x", b"NPLM", 3, V, n_bytes, *sizes)
    for array in [struct.pack("<5I", *starts), text, *arrays]:
        data += array
        data += bytes(-len(data) % 64)
    with open(f"out/fuzz/seeds/{name}", "wb") as f:
        f.write(data + struct.pack("<I", zlib.crc32(data)))
with open("out/fuzz/seeds/lines", "wb") as f:
    f.write("\ufeff aab\r\né\ré\n\n \u2028ab\x85\ne\u0301\nx".encode())
END
# A small cache, so that contexts take each other's place.
sed 's/MAX_CACHE = 1 << 25/MAX_CACHE = 1 << 12/' sample.c > out/fuzz/sample.c
for mode in AS_IT_IS RIGHT_CRC; do
    mkdir -p out/fuzz/$mode
    clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -D$mode \
        -Iout/fuzz experiments/fuzz.c -o out/fuzz/fuzz_$mode
    out/fuzz/fuzz_$mode -runs="${1:-200000}" -max_len=2400 -timeout=60 -print_final_stats=1 \
        -artifact_prefix=out/fuzz/ out/fuzz/$mode out/fuzz/seeds
done
if command -v node > /dev/null; then # the same for the page
    for model in network ngrams mixture; do
        node experiments/fuzz_page.mjs out/fuzz/seeds/$model "${1:-200000}" 1
    done
fi
