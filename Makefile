# make                    Python packages, training, n-grams, export, compiling, 20 new names
# make NAMES=towns.txt    the same for a file of your own, one item per line, in out/towns
# make sample             the C program alone; needs no Python
# make test               all tests
# make bench              measure what the README says about speed (three minutes)
# make story              run the commands of the README's table again (half an hour)
# make figures            draw the README's picture of the letters again
# make crosscheck         the same names from every compiler and machine at hand? (three minutes)
# make fuzz               the readers of sample.c and sample.html under fuzzers, RUNS=200000 files
# make clean              remove sample, and out with every model in it; not the Python packages
# Another Python: make PYTHON=python3.12. Another compiler: make CC=clang CFLAGS=-O2.

NAMES = names.txt
PYTHON =
CFLAGS = -O3 $$($(CC) -march=native -E -xc /dev/null > /dev/null 2>&1 && echo -march=native)
COMPILE = $(CC) -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow $(CFLAGS)
# What the rules train on, and where; only `names` sets them, so that out keeps its own model.
FILE = names.txt
OUT = out

names:
	@case "$(NAMES)" in names.txt) out=out ;; *) out=out/$$(basename "$(NAMES)" .txt) ;; esac; \
	test -r "$(NAMES)" || { echo "make: cannot read $(NAMES)" >&2; exit 1; }; \
	case "$(NAMES)" in *[\ :]*) echo "make: NAMES has a space or a colon" >&2; exit 1; esac; \
	GNUMAKEFLAGS=--no-print-directory $(MAKE) FILE="$(NAMES)" OUT="$$out" speak

speak: sample $(OUT)/mlp.bin
	./sample $(OUT)/mlp.bin -u -x "$(FILE)" || \
	  .venv/bin/python sample.py $(OUT)/mlp.bin -u -x "$(FILE)"  # reads more kinds of text

# mlp.py writes its checkpoint many times; this empty file says that training is complete.
$(OUT)/trained: mlp.py $(FILE) .venv/installed
	.venv/bin/python mlp.py --input_file="$(FILE)" --out_dir="$(OUT)" && touch $@

$(OUT)/mlp.bin: mix.py kneser_ney.py bigram.py export.py $(OUT)/trained
	.venv/bin/python mix.py --out_dir="$(OUT)"
	.venv/bin/python export.py --out_dir="$(OUT)"

sample: sample.c out/compiler
	$(COMPILE) sample.c -o $@

# If the compiler or its flags are not those of last time, sample is compiled anew.
out/compiler: FORCE
	@mkdir -p out; $(CC) -E -xc /dev/null > /dev/null 2>&1 || \
	  { echo "make: $(CC) does not run; install a C compiler or name one: make CC=clang" >&2; exit 1; }
	@echo $(COMPILE) | cmp -s - $@ 2> /dev/null || { echo $(COMPILE) > $@; rm -f sample; }

.venv/installed: requirements.txt .venv/pyvenv.cfg
	.venv/bin/python -m pip --disable-pip-version-check install -r requirements.txt && touch $@

# An environment is kept, unless PYTHON names another Python than the one it was made with.
WHICH = import sys; print(sys.base_prefix, sys.version)
CHECK = import sys; sys.version_info >= (3, 10) or sys.exit("make: %s is Python %s, but 3.10 or " \
  "newer is needed; name one: make PYTHON=python3.12" % (sys.executable, sys.version.split()[0]))
.venv/pyvenv.cfg: FORCE
	@new="$(PYTHON)"; old=.venv/bin/python; \
	if $$old -c '$(CHECK); import pip' 2> /dev/null && { test -z "$$new" || \
	  test "$$("$$new" -c '$(WHICH)' 2> /dev/null)" = "$$($$old -c '$(WHICH)')"; }; then exit; fi; \
	new="$${new:-python3}"; "$$new" -c '$(CHECK)' || exit; \
	"$$new" -c 'import ensurepip, venv' 2> /dev/null || \
	  { echo "make: $$new has no venv or no pip; on Debian, apt install python3-venv" >&2; exit 1; }; \
	"$$new" -m venv --clear .venv

test: .venv/installed
	.venv/bin/python -m pytest -q -rs tests
bench: sample out/mlp.bin
	.venv/bin/python experiments/bench.py
story: .venv/installed
	.venv/bin/python experiments/story.py --check
crosscheck:
	experiments/crosscheck.sh
fuzz:
	experiments/fuzz.sh $(RUNS)

# 256 colours are enough for this picture, and a third of the bytes.
figures: .venv/installed
	.venv/bin/python mlp.py --n_embd=2 --dropout=0 --weight_decay=0.2 --max_iters=3000 --warmup_iters=200 \
	  --learning_rate=0.004 \
	  --seed=2 --num_samples=0 --out_dir=out/plane
	.venv/bin/python plot.py embedding --out_dir=out/plane
	.venv/bin/python -c 'from PIL import Image; Image.open("out/plane/embedding.png").convert("RGB") \
	  .quantize(256).save("assets/embedding.png")'

clean:
	rm -rf out sample .pytest_cache __pycache__ */__pycache__
FORCE:
.PHONY: names speak test bench story crosscheck fuzz figures clean
