#!/usr/bin/env bash
# Runs the loader of sample.c under libFuzzer: RUNS files as they come, where few get past the
# checksum, and RUNS files whose checksum is corrected first. Needs clang, and Python for the files
# that it starts from. 200,000 runs take a minute.
#
#     tests/fuzz.sh [RUNS]      # make fuzz RUNS=10000000

set -e
cd "$(dirname "$0")/.."
command -v clang > /dev/null || { echo "fuzz: no clang, which libFuzzer is part of" >&2; exit 1; }
mkdir -p out/fuzz/seeds
# It starts from two small models of "a" and "é": block_size 2, n_embd 2, n_hidden 5, and the same
# with n-grams, of order 0 and 1.
python3 - << 'END'
import struct, zlib
network = struct.pack("<4I", 2, 3, 2, 5) + b"\1\n\1a\2\xc3\xa9\0" + struct.pack("<49f", *range(49))
ngrams = (struct.pack("<dI", 0.5, 2) + struct.pack("<2I3d", 1, 3, 0.5, 1, 1.5)
          + struct.pack("<2I3d", 2, 3, 0.5, 1, 1.5)
          + bytes([3,  0, 1, 2,  1, 2, 3])               # n_followers, tokens, counts
          + bytes([2,  0, 1,  2, 1,  1, 2, 0,  2, 1, 1]))  # n_children, left, then the same three
for version, data in (1, network), (2, network + ngrams):
    data = b"NPLM" + struct.pack("<I", version) + data
    with open(f"out/fuzz/seeds/version{version}", "wb") as f:
        f.write(data + struct.pack("<I", zlib.crc32(data)))
END
for mode in AS_IT_IS RIGHT_CRC; do
    mkdir -p out/fuzz/$mode
    clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -D$mode \
        tests/fuzz.c -o out/fuzz/fuzz
    out/fuzz/fuzz -runs="${1:-200000}" -max_len=1200 -timeout=5 -print_final_stats=1 \
        -artifact_prefix=out/fuzz/ out/fuzz/$mode out/fuzz/seeds
done
