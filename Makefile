# make          everything: environment, training, export, compiling, 20 new names
# make test     all tests
# make sample   the C program alone; needs no Python
# make bench    measure what the README says of speed (three minutes)
# make story    run the commands of the README's table of models again (a quarter of an hour)
# make figures  draw the pictures of the README again (a minute)
# make crosscheck   the names of every compiler and machine there is, compared
# make fuzz         the loader under a fuzzer, RUNS times as it is and RUNS times past the checksum
# make clean    remove what was made, but for the environment

PYTHON = python3
CFLAGS = -O3 -march=native
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow
VENV = .venv/installed

names: sample out/mlp.bin
	./sample -x names.txt

# The checkpoint is no target: training writes it many times, and half a training is not done.
out/trained: mlp.py names.txt $(VENV)
	.venv/bin/python mlp.py
	touch $@

out/mlp.bin: export.py out/trained
	.venv/bin/python export.py

sample: sample.c
	$(CC) -std=c11 $(WARNINGS) $(CFLAGS) sample.c -o $@

$(VENV): requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.txt
	touch $@

test: $(VENV)
	.venv/bin/python -m pytest -q tests

crosscheck: out/mlp.bin
	tests/crosscheck.sh out/mlp.bin

# The fuzzer starts from one small model: of "a" and "é", block_size 2, n_embd 2, n_hidden 5.
RUNS = 200000
FUZZ = clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
fuzz:
	mkdir -p out/fuzz/seeds
	$(PYTHON) -c 'import struct, zlib; data = b"NPLM" + struct.pack("<5I", 1, 2, 3, 2, 5) \
	  + b"\1\n\1a\2\xc3\xa9\0" + struct.pack("<49f", *range(49)); \
	  open("out/fuzz/seeds/model", "wb").write(data + struct.pack("<I", zlib.crc32(data)))'
	for mode in AS_IT_IS RIGHT_CRC; do mkdir -p out/fuzz/$$mode && \
	  $(FUZZ) -D$$mode tests/fuzz.c -o out/fuzz/fuzz && \
	  out/fuzz/fuzz -runs=$(RUNS) -max_len=1200 -timeout=5 -print_final_stats=1 \
	    -artifact_prefix=out/fuzz/ out/fuzz/$$mode out/fuzz/seeds || exit 1; done

bench: $(VENV) sample out/mlp.bin
	.venv/bin/python tests/bench.py

story: $(VENV)
	.venv/bin/python tests/story.py

# 256 colours are enough for these pictures, and a third of the bytes.
figures: $(VENV)
	.venv/bin/python bigram.py --plot --num_samples=0 --out_dir=out/figures
	.venv/bin/python mlp.py --find_lr --plot --out_dir=out/figures
	.venv/bin/python mlp.py --n_embd=2 --dropout=0 --max_iters=3000 --seed=2 --plot --num_samples=0 \
	  --out_dir=out/plane
	.venv/bin/python mlp.py --plot --num_samples=0 --out_dir=out/figures
	mkdir -p assets
	cp out/figures/bigram.png out/figures/find_lr.png out/figures/loss.png out/plane/embedding.png \
	  assets/
	.venv/bin/python -c 'import sys; from PIL import Image; \
	  [Image.open(path).convert("RGB").quantize(256).save(path) for path in sys.argv[1:]]' \
	  assets/*.png

clean:
	rm -rf out sample .pytest_cache __pycache__ tests/__pycache__

.PHONY: names test bench story figures crosscheck fuzz clean
