// Fuzzes the reader of sample.html: changes a small model in random places and reads it.
//
//     python export.py --out_dir=small && node experiments/fuzz_page.mjs small/mlp.bin 100000 1
//
// reads 100,000 copies, changed by the random numbers of seed 1. Each has to be refused with a
// sentence, or be a model whose names can be drawn: no other error, no NaN, no endless loop. In
// every second copy the checksum is put right, so that the checks behind it have something to do.

import {readFileSync} from "node:fs";

const page = readFileSync(new URL("../sample.html", import.meta.url), "utf8");
const script = page.split("<script>\n")[1].split("// ---- The page")[0];
const {crc32, load, distribution, sample, score} =
  new Function(script + "; return {crc32, load, distribution, sample, score};")();
const [path = "out/mlp.bin", runs = 100_000, seed = 1] = process.argv.slice(2);
const SENTENCE = /^PATH is (not a model|of another version|damaged: its [a-zA-Z0-9_ ]+ is wrong)/;
const NUMBERS = [0, 1, 2, 3, 15, 16, 255, 256, 1025, 65537, 2 ** 22, 2 ** 31, 2 ** 32 - 1,
                 0x3F800000, 0x7F800000, 0x7FC00000, 0x80000000, 0x58800000, 0xD8800000];

let state = Number(seed);
function random(n) { // from 0 to n - 1, by the generator of Park and Miller
  state = state * 48271 % 0x7FFFFFFF || 1;
  return state % n;
}

function change(data) { // a changed copy, as bytes
  const changed = data.slice(0, random(20) ? data.length : random(data.length + 1));
  const view = new DataView(changed.buffer), words = changed.length >> 2;
  for (let i = random(3); i >= 0 && words > 0; i--) {
    const at = 4 * random(random(2) ? words : Math.min(words, 40)); // often in the head
    const kind = random(4), number = NUMBERS[random(NUMBERS.length)];
    if (kind === 0) changed[at + random(4)] ^= 1 << random(8);
    if (kind === 1) view.setUint32(at, number, true);
    if (kind === 2) view.setUint32(at, view.getUint32(at, true) + random(7) - 3, true);
    if (kind === 3) changed.copyWithin(at, 4 * random(words), 4 * random(words));
  }
  if (words > 1 && random(2)) {
    const end = changed.length - 4;
    view.setUint32(end, crc32(changed.subarray(0, end)), true);
  }
  return changed;
}

const said = {}, data = new Uint8Array(readFileSync(path));
for (let i = 0; i < runs; i++) {
  let sentence = "fine", m;
  try { m = load("PATH", change(data).buffer); } catch (error) { sentence = error.message; }
  if (!m && !SENTENCE.test(sentence)) throw new Error(`run ${i}: ${sentence}`);
  said[sentence] = (said[sentence] ?? 0) + 1;
  if (!m) continue;
  for (const options of [[1, Infinity, 1], [0, Infinity, 1], [0.5, 2, 0.5]]) {
    const drawn = [...sample(m, i, [], BigInt(i), new Map(), ...options)];
    const thresholds = distribution(m, Array(m.context_size).fill(drawn[0] ?? 0), ...options);
    const rising = thresholds.every((x, v) => x >= (thresholds[v - 1] ?? 0));
    const valid = score(m, m.itos[drawn[0]] ?? "").every(nll => nll >= 0);
    if (!rising || thresholds.at(-1) !== 2 ** 30 || !valid) throw new Error(`run ${i}`);
  }
}
console.log(said);
