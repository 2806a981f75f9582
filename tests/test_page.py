"""sample.html: the same names as ./sample, in Chromium and in node; and how the page is used."""

import base64
import itertools
import json
import os
import random
import select
import shutil
import struct
import subprocess

import pytest

from conftest import NGrams, ROOT, leb128, version_2, with_crc

fcntl = pytest.importorskip("fcntl")
PAGE = (ROOT / "sample.html").read_text(encoding="utf-8")
ARITHMETIC = PAGE.partition("<script>\n")[2].partition("// ---- The page")[0]
NAMES = """
function names(m, n, seed, temperature, top_k, top_p, prefix) {
  const s = {model: m, cache: {}, seed: splitmix64(BigInt(seed)), temperature: f(temperature),
             top_k: top_k ?? Infinity, top_p: f(top_p)};
  return Array.from({length: n}, (_, i) =>
    draw(s, encode(m, prefix), i).map(token => m.itos[token]).join(""));
}
function losses(m, lines) {
  const s = {model: m, cache: {}, temperature: 1, top_k: Infinity, top_p: 1};
  return lines.map(line => {
    const tokens = [...encode(m, line), 0];
    const nll = tokens.map((token, at) => look_up(s, tokens.slice(0, at)).nll[token]);
    return (sum_of(nll) / nll.length).toFixed(6) + "\\t" + line;
  });
}
"""
# seed, temperature, top_k, top_p, prefix
RUNS = [("3", 0, None, 1, "ma"), ("0", 1, None, 1, ""), ("7", 0.7, None, 0.9, "z"),
        (str(2**64 - 1), 3, 9, 0.8, "ma")]


@pytest.fixture(scope="module")
def models(trained, mixture, names, tmp_path_factory):
    """A file of each kind: version 1; version 2 with a network, with both, with n-grams alone."""
    folder, data = tmp_path_factory.mktemp("models"), trained.bin.read_bytes()
    tokens = [[trained.itos.index(ch) for ch in name] for name in names[:2000]]
    ngrams = NGrams(tokens, len(trained.itos), 3)
    network = data[8:-4 if data[4] == 1 else -16]
    files = {"version 1": with_crc(b"NPLM" + struct.pack("<I", 1) + network),
             "network": version_2(data, 1), "mixture": mixture.bin.read_bytes(),
             "n-grams": version_2(None, 0, ngrams.lists(), itos=trained.itos)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def n_names(path):
    return 1000 if path.name == "network" else 100


@pytest.fixture(scope="module")
def expected(program, models, names):
    """What ./sample says for each model: the names of each run, and the loss of some lines."""
    lines, result = models[0].parent / "lines", []
    lines.write_text("\n".join(names[:100]))
    for path in models:
        result.append([])
        for seed, temperature, top_k, top_p, prefix in RUNS:
            args = ["-s", seed, "-t", str(temperature), "-p", str(top_p), "-i", prefix]
            args += ["-k", str(top_k)] if top_k else []
            result[-1].append(program.lines(path, "-n", str(n_names(path)), *args))
        result[-1].append(program.lines(path, "-e", lines))
    return result


def in_script(path, names):
    """The same as a JavaScript expression, for the model m."""
    return (f"[...{json.dumps(RUNS)}.map(run => names(m, {n_names(path)}, ...run)),"
            f" losses(m, {json.dumps(names[:100])})]")


def test_same_names_in_node(expected, models, names):
    if not shutil.which("node"):
        pytest.skip("there is no node here")
    read = "const read = path => load(new Uint8Array(require('fs').readFileSync(path)));"
    script = ARITHMETIC + NAMES + read + "".join(
        f"{{ const m = read({json.dumps(str(path))});"
        f"  console.log(JSON.stringify({in_script(path, names)})); }}" for path in models)
    done = subprocess.run(["node", "-"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected


# -----------------------------------------------------------------------------
# Damaged files: the sentence of ./sample, word for word

START = b"NPLM" + struct.pack("<5I", 2, 0, 3, 0, 0) + b"\1\n\1a\1b" + bytes(2)
HEADS = [(1, 3), (2, 3)]
LISTS = [[[3], [0, 1, 2], [2, 3, 4]], [[2], [0, 2], [2, 1], [1, 2, 0], [1, 1, 300]]]
NAN = float("nan")


def small_file(weight=0.0, start=START, heads=HEADS, lists=LISTS, discounts=(0.6, 1.1, 1.4),
               n_orders=None, changes=(), end=b""):
    """A file of two orders over three tokens; changes: (order, list, place, number or bytes)."""
    lists = [[list(part) for part in order] for order in lists]
    for k, part, place, number in changes:
        lists[k][part][place] = number
    data = start + struct.pack("<dI", weight, len(heads) if n_orders is None else n_orders)
    data += b"".join(struct.pack("<2I3d", *head, *discounts) for head in heads)
    return with_crc(data + b"".join(n if isinstance(n, bytes) else leb128(n)
                                    for order in lists for part in order for n in part) + end)


def small_network(weight, B=1, E=1, H=1, **more):
    start = b"NPLM" + struct.pack("<5I", 2, B, 3, E, H) + b"\1\n\1a\1b" + bytes(2)
    return small_file(weight, start + bytes(4 * (3 * E + B * E * H + H + H * 3 + 3)), **more)


def vocabulary(*tokens):
    data = b"".join(bytes([len(token)]) + token for token in tokens)
    return small_file(start=START[:24] + data + bytes(-len(data) % 4))


def damaged_files():
    none = {"heads": [], "lists": []}
    files = {"fine": small_file(), "fine with network": small_network(0.5),
             "network alone": small_network(1.0, **none), "longer": small_file(end=b"\1"),
             "weight without n-grams": small_network(0.5, **none),
             "weight without network": small_file(0.5), "nothing": small_file(**none),
             "fewer orders": small_file(n_orders=1), "more orders": small_file(n_orders=3),
             "257 orders": small_file(n_orders=257), "258 orders": small_file(n_orders=258)}
    for weight in (-0.1, 1.1, NAN, float("inf")):
        files[f"weight {weight}"] = small_network(weight)
    for discounts in ((1.1, 1, 1), (1, 2.1, 1), (1, 1, 3.1), (-0.1, 1, 1), (1, NAN, 1), (1, 2, 3)):
        files[f"discounts {discounts}"] = small_file(discounts=discounts)
    for heads in ([(2, 3), (2, 3)], [(0, 3), (2, 3)], [(1, 0), (2, 3)], [(1, 3), (0, 3)],
                  [(1, 3), (2, 0)], [(1, 3), (3, 3)], [(1, 4), (2, 3)], [(1, 3), (2, 4)],
                  [(1, 3), (2**32 - 1, 3)], [(1, 2**32 - 1), (2, 3)], [(1, 3), (1, 3)]):
        files[f"heads {heads}"] = small_file(heads=heads)
    for change in [(1, 0, 0, 3), (1, 0, 0, 4), (1, 0, 0, 1), (1, 1, 1, 3), (1, 1, 0, 2),
                   (1, 1, 1, 0), (0, 0, 0, 0), (0, 0, 0, 2), (0, 0, 0, 4), (0, 1, 2, 3),
                   (0, 1, 1, 2), (0, 1, 1, 0), (1, 3, 1, 1), (1, 3, 0, 2), (0, 2, 0, 0),
                   (1, 2, 0, 1), (1, 2, 1, 0), (1, 4, 2, 2**32 - 1), (1, 4, 2, 2**32)]:
        files[f"change {change}"] = small_file(changes=[change])
    for number in (b"\x82\x00", b"\x80", 4 * b"\x80" + b"\1", 4 * b"\x80" + b"\x10",
                   4 * b"\xff" + b"\x0f", 5 * b"\x80" + b"\1", 5 * b"\x80" + b"\0", 6 * b"\xff"):
        files[f"count {number}"] = small_file(changes=[(1, 4, 2, number)])
        files[f"token {number}"] = small_file(changes=[(0, 1, 2, number)])
    for tokens in [(b"\n", b"b", b"a"), (b"\n", b"a", b"a"), (b"\n", b"\n", b"a"),
                   (b"a", b"b", b"c"), (b"\n", b"a")]:
        files[f"vocabulary {tokens}"] = vocabulary(*tokens)
    for last in (b"", b"ab", b"\xff", b"\xe4\xb8", b"\xf0\x9f\x8c", b"\xef\xbf", b"\xed\xa0\x80",
                 b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xef\xbf\xbd", b"\xef\xbb\xbf", b"\xc3\xa9"):
        files[f"last token {last}"] = vocabulary(b"\n", b"\0", last)
    sizes = (0, 1, 3, 257, 1025, 65537, 0x110000, 0x110001, 2**32 - 1)
    for at, size in itertools.product(range(4, 24, 4), sizes):
        for name, data in (("n-grams", small_file()), ("network", small_network(0.5))):
            data = data[:at] + struct.pack("<I", size) + data[at + 4:-4]
            files[f"{name}, {size} at {at}"] = with_crc(data)
    whole = small_network(0.5)
    for n in range(len(whole) - 4):
        files[f"the first {n} bytes"] = with_crc(whole[:n])
    return files


def test_damaged_files_get_the_sentence_of_the_program(program, mixture, tmp_path):
    if not shutil.which("node"):
        pytest.skip("there is no node here")
    files, rng = damaged_files(), random.Random(1)
    for kind, whole in (("small", small_network(0.5)), ("large", mixture.bin.read_bytes())):
        for i in range(300):  # some bytes differ, and the checksum is right
            data = bytearray(whole[:-4])
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(4, len(data))] = rng.choice([0, 1, 2, 3, 127, 128, 255])
            files[f"{kind} {i}"] = with_crc(data)
    said = {}
    for i, (name, data) in enumerate(files.items()):
        (tmp_path / str(i)).write_bytes(data)
        done = program.run(str(i), "-n", "0", "-s", "1", cwd=tmp_path)
        said[name] = done.stderr.removeprefix(f"sample: {i} is ").removesuffix("\n")
    script = ARITHMETIC + f"""
for (let i = 0; i < {len(files)}; i++) {{
  let said = "";
  try {{ load(new Uint8Array(require("fs").readFileSync(String(i)))); }}
  catch (error) {{ said = error.message; }}
  console.log(said);
}}"""
    done = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert dict(zip(files, done.stdout.split("\n"), strict=False)) == said
    assert not said["fine"] and not said["fine with network"] and not said["network alone"]
    assert len(set(said.values())) == 13  # every sentence about a damaged file, and none


# -----------------------------------------------------------------------------
# In a browser

class Browser:
    """Chromium without a window: it reads JSON messages on file descriptor 3, and answers on 4."""

    def __init__(self, command, folder):
        pipes = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (*os.pipe(), *os.pipe())]
        self.process = subprocess.Popen(
            [command, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             f"--user-data-dir={folder}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, close_fds=False,
            preexec_fn=lambda: (os.dup2(pipes[0], 3), os.dup2(pipes[3], 4)))
        for fd in (pipes[0], pipes[3]):
            os.close(fd)
        self.requests, self.answers = os.fdopen(pipes[1], "wb", 0), pipes[2]
        self.rest, self.ids, self.events, self.session = b"", itertools.count(1), [], {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}

    def call(self, method, **params):
        message = {"id": next(self.ids), "method": method, "params": params, **self.session}
        self.requests.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                assert select.select([self.answers], [], [], 60)[0], f"no answer to {method}"
                self.rest += (part := os.read(self.answers, 1 << 20))
                assert part, "the browser has ended"
            line, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == message["id"]:
                assert "result" in answer, answer
                return answer["result"]
            self.events.append(answer)

    def js(self, expression):
        """The value of an expression on the page, or what its promise brings."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True,
                         returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, condition):
        self.js(f"new Promise(done => {{ const look = () => {condition} ? done() : "
                "setTimeout(look, 5); look(); })")

    def choose(self, path):
        """Chooses a file in the page's file picker."""
        self.js("$('about').textContent = $('message').textContent = ''; 0")
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
        self.wait("$('about').textContent + $('message').textContent")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if not command:
        pytest.skip("there is no Chromium here")
    try:
        browser = Browser(command, tmp_path_factory.mktemp("profile"))
    except (AssertionError, OSError) as e:
        pytest.skip(f"{command} does not start here: {e}")
    yield browser
    browser.session = {}
    browser.call("Browser.close")
    browser.process.wait()


@pytest.fixture
def page(browser, trained, tmp_path):
    """The browser with a page that holds a model, opened from a file."""
    tag = '<script id="model" type="text/plain">'
    assert PAGE.count(tag) == 1
    model = base64.b64encode(trained.bin.read_bytes()).decode()
    (tmp_path / "mlp.html").write_text(PAGE.replace(tag, tag + model), encoding="utf-8")
    browser.events.clear()
    for domain in ("Network", "Page", "DOM"):
        browser.call(f"{domain}.enable")
    browser.call("Page.navigate", url=f"file://{tmp_path}/mlp.html")
    while not any(event["method"] == "Page.loadEventFired" for event in browser.events):
        browser.js("0")
    browser.wait("document.querySelectorAll('#names li').length === 40")
    return browser


def test_same_names_in_the_page(page, expected, models, names):
    page.js(NAMES + "0")
    for path, lines in zip(models, expected, strict=True):
        page.choose(path)
        assert page.js(in_script(path, names)) == lines
        assert not page.js("$('message').textContent")


def test_typing_pointing_and_clicking(page, program, trained):
    shown = "[...document.querySelectorAll('#names li')].map(name => name.textContent)"
    page.js("$('seed').value = '5'; $('top_k').value = '9'; $('top_p').value = '0.9';"
            "$('temperature').value = '0.8'; $('top_p').dispatchEvent("
            "new InputEvent('input', {bubbles: true})); $('prefix').focus()")
    before = page.js("$('bars').textContent")
    page.call("Input.insertText", text="ma")
    page.wait(f"{shown}.length === 40")
    args = ["-s", "5", "-t", "0.8", "-k", "9", "-p", "0.9", "-i", "ma"]
    assert page.js(shown) == program.lines(trained.bin, "-n", "40", *args)
    page.js("$('more').click()")
    page.wait(f"{shown}.length === 80")
    assert page.js(shown) == program.lines(trained.bin, "-n", "80", *args)

    page.js("$('top_k').value = ''; $('top_p').value = $('temperature').value = '1'; restart()")
    percents = page.js("[...$('bars').children].map(bar => Number(bar.firstChild.textContent))")
    assert percents == pytest.approx(100 * trained.probs("ma"), abs=0.501)
    assert sum(percents) == pytest.approx(100, abs=3) and page.js("$('bars').textContent") != before
    assert page.js("$('likeliest').textContent") == trained.likeliest("ma")
    page.js("$('bars').children[5].click()")
    assert page.js("$('prefix').value") == "ma" + trained.itos[5]

    x, y = page.js("(() => { const name = document.querySelector('#names li');"
                   "  name.scrollIntoView();"
                   "  const {x, y} = name.getBoundingClientRect(); return [x + 9, y + 9]; })()")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.wait("$('letters').children.length")
    name = page.js(f"{shown}[0]")
    (trained.out_dir / "name.txt").write_text(name)
    loss = program.lines(trained.bin, "-e", trained.out_dir / "name.txt")[0].split("\t")[0]
    assert page.js("$('loss').textContent") == f"{loss} nats a token"
    letters = page.js("[...$('letters').children].map(cell => cell.firstChild.textContent)")
    assert letters == [*name, "↵"]
    places = page.js("[...$('plane').children].map(({style}) => style.left + style.bottom)")
    assert len(set(places)) == len(trained.itos)


def test_wrong_files_and_settings_get_a_sentence(page, program, models, tmp_path):
    data = models[1].read_bytes()
    files = {"empty": b"", "text": 100 * b"names\n", "cut": data[:1000], "longer": data + b"\0",
             "flipped": data[:500] + bytes([data[500] ^ 1]) + data[501:],
             "version": data[:4] + b"\3" + data[5:]}
    for name, change in {"sizes": (8, struct.pack("<I", 257)), "vocabulary": (29, b"\0"),
                         "weight": (200, b"\xff\xff\xff\xff")}.items():
        files[name] = with_crc(data[:change[0]] + change[1] + data[change[0] + len(change[1]):-4])
    files["n-grams"] = small_file(changes=[(1, 2, 1, 0)])
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        page.choose(tmp_path / name)
        sentence = page.js("$('message').textContent")
        assert f"sample: {sentence}\n" == program.run(name, "-s", "1", cwd=tmp_path).stderr
    page.js("$('prefix').value = 'aX'; $('prefix').dispatchEvent("
            "new InputEvent('input', {bubbles: true}))")
    sentence = page.js("$('message').textContent")
    said = program.run(models[0], "-s", "1", "-i", "aX").stderr  # what follows is about options
    assert sentence and said.startswith(f"sample: {sentence}")
    page.js("$('prefix').value = ''; restart(); $('seed').value = '-1'; setTimeout(restart)")
    page.wait("$('message').textContent")
    assert "not '-1'" in page.js("$('message').textContent")


def test_no_request_leaves_the_page(page):
    page.js("explain(encode(m, 'anna')); $('more').click()")
    requests = [event["params"]["request"]["url"] for event in page.events
                if event["method"] == "Network.requestWillBeSent"]
    assert len(requests) == 1 and requests[0].endswith("/mlp.html")
    refused = page.js("new Promise(done => { fetch('http://127.0.0.1:9/').catch(() => 0);"
                      "  addEventListener('securitypolicyviolation', e => done(e.blockedURI)); })")
    assert refused == "http://127.0.0.1:9/"


def test_any_script(page, program, random_model):
    page.js(NAMES + "0")
    for letters in ("مريمنورسل", "अआकखगतनमरलसािीेो्", "👩👨😀🎉é ", "丁七万丈三上下"):
        reference = random_model(set(letters))
        page.choose(reference.bin)
        prefix = reference.itos[-1]
        found = page.js(f"names(m, 50, '3', 1, null, 1, {json.dumps(prefix)})")
        assert found == program.lines(reference.bin, "-n", "50", "-s", "3", "-i", prefix)
        assert not page.js("$('message').textContent")
