"""sample.html in a browser: what it shows is what sample.py says, after typing and clicking."""

import base64
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import sample
from test_ports import PAGE

# Runs on the page itself, when it has drawn its names, and leaves what it saw in the page.
STEPS = """<script>
const seen = {}, text = id => $(id).textContent, change = (id, value) => {
  $(id).value = value; $(id).dispatchEvent(new Event("input", {bubbles: true})); };
const wait = n => new Promise(done => { const look = () =>
  document.querySelectorAll("#names li").length >= n && !frame ? done() : setTimeout(look, 5);
  look(); });
const shown = () => [...document.querySelectorAll("#names li")].map(name => name.textContent);
(async () => {
  await wait(40);
  change("seed", 5); change("top_k", 9); change("top_p", 0.9); change("temperature", 0.8);
  change("prefix", "ab"); await wait(40); seen.names = shown();
  $("more").click(); await wait(80); seen.more = shown();
  document.querySelector("#names li").onmouseover(); seen.loss = text("loss");
  seen.tokens = [...$("tokens").children].map(cell => cell.firstChild.textContent);
  change("top_k", ""); change("top_p", 1); change("temperature", 1);
  seen.bars = [...$("bars").children].map(bar => Number(bar.firstChild.textContent));
  seen.likeliest = text("likeliest"); $("bars").children[3].click(); seen.prefix = $("prefix").value;
  seen.places = [...$("plane").children].length;
  change("prefix", "aX"); await new Promise(done => setTimeout(done, 50)); seen.unknown = text("message");
  try { open_model("odd.bin", new TextEncoder().encode("names".repeat(99)).buffer); }
  catch (error) { seen.odd = error.message; }
  document.body.textContent = "SEEN" + JSON.stringify(seen) + "END";
})().catch(error => document.body.textContent = `SEEN{"error": "${error.message}"}END`);
</script>"""


def test_typing_pointing_and_clicking(models, tmp_path):
    command, model = shutil.which("chromium") or shutil.which("google-chrome"), models["mixture"]
    if not command:
        pytest.skip("there is no Chromium here")
    tag, encoded = 'type="text/plain">', base64.b64encode(model.data).decode()
    (tmp_path / "page.html").write_text(PAGE.replace(tag, tag + encoded) + STEPS, encoding="utf-8")
    done = subprocess.run([command, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                           "--virtual-time-budget=60000", f"--user-data-dir={tmp_path / 'profile'}",
                           f"file://{tmp_path / 'page.html'}"], capture_output=True, timeout=100)
    if done.returncode:
        pytest.skip(f"{command} does not run here: {done.stderr.decode()[-200:]}")
    seen = json.loads(html.unescape(re.search("SEEN(.*)END", done.stdout.decode())[1]))
    m = sample.load(model.path)
    options = {"seed": 5, "prefix": "ab", "temperature": 0.8, "top_k": 9, "top_p": 0.9}
    names = list(sample.names(m, 80, **options))
    assert (seen["names"], seen["more"]) == (names[:40], names)
    loss = sample.score(m, names[0])
    assert seen["loss"].startswith(f"{loss.mean():.6f}") and seen["tokens"] == [*names[0], "↵"]
    p = np.diff(sample.distribution(m, (0, 0, 1, 2), 1, 99, 1), prepend=0) / 2**30
    assert seen["bars"] == pytest.approx(100 * p, abs=0.51) and seen["places"] == len(m.itos)
    assert seen["likeliest"] == next(sample.names(m, 1, prefix="ab", temperature=0))
    assert seen["prefix"] == "ab" + m.itos[3]
    assert "does not know 'X'" in seen["unknown"] and "odd.bin is not a model" in seen["odd"]
