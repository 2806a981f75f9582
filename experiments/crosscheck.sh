#!/usr/bin/env bash
# Builds sample.c with every compiler and for every system at hand, and compares what it prints with
# `cc -O2`. What cannot run here is only "compiled". Status 1 if a byte differs or a build fails.
#
#     experiments/crosscheck.sh [MODEL]      # make crosscheck takes out/mlp.bin, else names.bin
#
# It uses what is there and skips the rest. Debian has clang, tcc, musl-tools, qemu-user, wine,
# nodejs, gcc-arm-linux-gnueabihf and, for i686, aarch64, riscv64, powerpc64le and s390x,
# gcc-MACHINE-linux-gnu. PyPI has ziglang, which is clang with the libraries of other systems; it is
# looked for as `zig` and as `python3 -m ziglang`, or give ZIG="/path/to/python -m ziglang".
# With all of them it takes three minutes, and five more the first time, as zig builds its libraries.

cd "$(dirname "$0")/.." || exit
model=out/mlp.bin
[ -r "$model" ] || model=names.bin
model=$(realpath "${1:-$model}")
[ -r "$model" ] || { echo "crosscheck: there is no model $model; make out/mlp.bin" >&2; exit 1; }
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
head -n 1000 names.txt > "$folder/words.txt"
echo 'int main(void) { return 0; }' > "$folder/nothing.c"
cat > "$folder/wasi.mjs" << 'END'
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";
const wasi = new WASI({ version: "preview1", args: process.argv.slice(2), preopens: { "/": "/" },
                        returnOnExit: false });
const program = await WebAssembly.compile(readFileSync(process.argv[2]));
const instance = await WebAssembly.instantiate(program, wasi.getImportObject());
process.exit(wasi.start(instance)); // without this, and returnOnExit, Node.js 20 crashes at its end
END
export WINEPREFIX="$folder/wine" WINEDEBUG=-all
warnings="-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
same=0 compiled=0 skipped=0 wrong=0

row() { # COUNTER ROW RESULT
    printf '%-62s %s\n' "$2" "$3"
    (($1 += 1))
}

sums() { # COMMAND...: checksums of what it prints
    local args
    for args in "-n 5000 -s 1" "-n 2000 -s 2 -t 0.8 -k 12 -p 0.95 -i ma" "-e $folder/words.txt"; do
        "$@" "$model" $args 2> "$folder/errors" | sha256sum | cut -c 1-12
        [ "${PIPESTATUS[0]}" = 0 ] || echo "failed: $(tail -n 1 "$folder/errors")"
    done | paste -s -d ' '
}

check() { # EMULATOR COMPILER FLAG...: the emulator is "" for this machine, - where there is none
    local emulator=$1 compiler=$2 found
    shift 2
    [ "$emulator" != "qemu-$(uname -m)" ] || emulator=
    if ! command -v ${compiler%% *} > /dev/null; then
        row skipped "$compiler $*" "skipped: no $compiler"
    elif ! $compiler "$@" "$folder/nothing.c" -o "$folder/sample.exe" 2> "$folder/errors"; then
        row skipped "$compiler $*" "skipped: $(grep -m 1 -E 'error|cannot|No ' "$folder/errors")"
    elif ! $compiler $warnings "$@" sample.c -o "$folder/sample.exe" 2> "$folder/errors"; then
        row wrong "$compiler $*" "DOES NOT BUILD: $(grep -m 1 error "$folder/errors")"
    elif [ -n "$emulator" ] && ! command -v ${emulator%% *} > /dev/null; then
        row compiled "$compiler $*" "compiled${emulator#-}"
    elif found=$(sums $emulator "$folder/sample.exe"); [ "$found" != "$expected" ]; then
        row wrong "$compiler $*" "DIFFERS: $found"
    else
        row same "$compiler $*" same
    fi
}

"${CC:-cc}" -std=c11 -O2 sample.c -o "$folder/sample" || exit
expected=$(sums "$folder/sample")
row same "${CC:-cc} -O2" "$expected"
[[ $expected != *failed* ]] || exit 1

for compiler in gcc clang; do
    for level in -O0 -O1 -O2 -O3 -Os "-O3 -march=native" "-std=gnu17 -O3 -march=native"; do
        check "" $compiler $level
    done
done
check "" tcc
check "" musl-gcc -O3 -static
check qemu-i386 i686-linux-gnu-gcc -O3 -static -msse2 -mfpmath=sse
check qemu-aarch64 aarch64-linux-gnu-gcc -O3 -static
check qemu-arm arm-linux-gnueabihf-gcc -O3 -static
check qemu-riscv64 riscv64-linux-gnu-gcc -O3 -static
check qemu-ppc64le powerpc64le-linux-gnu-gcc -O3 -static
# -std=c11 computes float as double there, unless told not to
check qemu-s390x s390x-linux-gnu-gcc -O3 -static -fexcess-precision=fast

zig="${ZIG:-$(command -v zig || echo python3 -m ziglang)} cc"
check qemu-x86_64 "$zig" -O3 -target x86_64-linux-musl
check qemu-i386 "$zig" -O3 -target x86-linux-musl -msse2 -mfpmath=sse
check qemu-aarch64 "$zig" -O3 -target aarch64-linux-musl
check qemu-arm "$zig" -O3 -target arm-linux-musleabihf
check qemu-riscv64 "$zig" -O3 -target riscv64-linux-musl
check qemu-ppc64le "$zig" -O3 -target powerpc64le-linux-musl
check qemu-s390x "$zig" -O3 -target s390x-linux-musl
check wine "$zig" -O3 -target x86_64-windows-gnu
check - "$zig" -O3 -target x86-windows-gnu
check - "$zig" -O3 -target aarch64-windows-gnu
check - "$zig" -O3 -target aarch64-macos
check - "$zig" -O3 -target x86_64-macos
check - "$zig" -O3 -target x86_64-freebsd
check - "$zig" -O3 -target x86_64-netbsd
check - "$zig" -O3 -target x86_64-openbsd
check "node --no-warnings $folder/wasi.mjs" "$zig" -O3 -target wasm32-wasi
echo "$same same, $compiled compiled only, $skipped skipped, $wrong wrong"
[ $wrong = 0 ]
