#!/usr/bin/env bash
# Builds sample.c with every compiler for every machine at hand, runs it (under qemu-user where the
# machine is another) and compares what it prints with `cc -O2`. Status 1 if a byte differs.
#
#     tests/crosscheck.sh [MODEL]      # make crosscheck takes out/mlp.bin
#
# Debian has all of them: clang musl-tools qemu-user gcc-arm-linux-gnueabihf and, for i686, aarch64,
# riscv64, powerpc64le and s390x, gcc-MACHINE-linux-gnu.

cd "$(dirname "$0")/.." || exit
model=$(realpath "${1:-out/mlp.bin}")
[ -r "$model" ] || { echo "crosscheck: there is no model $model; make out/mlp.bin" >&2; exit 1; }
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
head -n 1000 names.txt > "$folder/words.txt"
echo 'int main(void) { return 0; }' > "$folder/nothing.c"
status=0

row() { printf '%-62s %s\n' "$1" "$2"; }

sums() { # COMMAND...: checksums of what it prints
    local args
    for args in "-n 20000 -s 1" "-n 5000 -s 2 -t 0.8 -k 12 -p 0.95 -i ma" "-e $folder/words.txt"; do
        "$@" "$model" $args 2> "$folder/errors" | sha256sum | cut -c 1-12
        [ "${PIPESTATUS[0]}" = 0 ] || echo "failed: $(tail -n 1 "$folder/errors")"
    done | paste -s -d ' '
}

check() { # EMULATOR COMPILER FLAG...
    local emulator=$1 compiler=$2 tool found
    shift 2
    for tool in $compiler $emulator; do
        command -v "$tool" > /dev/null || { row "$compiler $*" "skipped: no $tool"; return; }
    done
    if ! "$compiler" "$@" "$folder/nothing.c" -o "$folder/sample" 2> "$folder/errors"; then
        row "$compiler $*" "skipped: $(grep -m 1 -E 'error|cannot' "$folder/errors")"
    elif ! "$compiler" -std=c11 "$@" sample.c -o "$folder/sample" 2> "$folder/errors"; then
        row "$compiler $*" "DOES NOT BUILD: $(grep -m 1 error "$folder/errors")"
        status=1
    elif found=$(sums $emulator "$folder/sample"); [ "$found" != "$expected" ]; then
        row "$compiler $*" "DIFFERS: $found"
        status=1
    else
        row "$compiler $*" same
    fi
}

"${CC:-cc}" -std=c11 -O2 sample.c -o "$folder/sample" || exit
expected=$(sums "$folder/sample")
row "${CC:-cc} -O2" "$expected"
[[ $expected != *failed* ]] || exit 1

for compiler in gcc clang; do
    for level in -O0 -O1 -O2 -O3 -Os "-O3 -march=native"; do check "" $compiler $level; done
done
check "" musl-gcc -O3 -static
check qemu-i386 i686-linux-gnu-gcc -O3 -static -msse2 -mfpmath=sse
check qemu-aarch64 aarch64-linux-gnu-gcc -O3 -static
check qemu-arm arm-linux-gnueabihf-gcc -O3 -static
check qemu-riscv64 riscv64-linux-gnu-gcc -O3 -static
check qemu-ppc64le powerpc64le-linux-gnu-gcc -O3 -static
# -std=c11 computes float as double there, unless told not to
check qemu-s390x s390x-linux-gnu-gcc -O3 -static -fexcess-precision=fast
exit $status
