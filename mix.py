"""
Mixes the network with n-grams, as Bengio et al. (2003, section 4.2) do for their best model:

    p = weight * p_network + (1 - weight) * p_ngrams

    python mix.py                    # adds the n-grams and the weight to out/mlp.pt
    python mix.py --out_dir=towns    # the same in another folder

Kneser-Ney knows what it has seen, the network generalises to what it has not. Their errors differ,
and the mixture is better than both. Context length, discount and weight are chosen on dev; then dev
is counted, too, and test is evaluated once. export.py writes it all to one file for the samplers.
"""

import argparse
import os
import zlib

import torch
import torch.nn.functional as F

import kneser_ney
import mlp

WEIGHTS = [i / 100 for i in range(101)]  # 0 leaves out the network, 1 the n-grams


@torch.no_grad()
def network_prob(model, rows):
    """The network's probability of each row's last token after its context, (predictions,)."""
    probs = [torch.empty(0, dtype=torch.double)]
    for batch in rows.split(8192):
        logits = model(batch[:, -1 - model.block_size:-1].long())  # (B, vocab_size)
        probs.append(F.softmax(logits.double(), dim=1).gather(1, batch[:, -1:].long()).flatten())
    return torch.cat(probs)


def total_loss(weight, p_network, p_ngrams):
    """The loss of the mixture, summed, from the probabilities (predictions,) of its parts."""
    return -(weight * p_network + (1 - weight) * p_ngrams).log().sum().item()


def best_weight(ngrams, p_network, dev, usual):
    """The weight of the mixture with the lowest loss on dev plus price, as (mean of both, weight).

    On a few lines of dev the best of many settings is an accident. So what is unlike most lists has
    a price, in nats of all of dev: their context length is 5, their discount 1.0, their weight the
    usual one. As dev grows, its loss, a sum, outgrows the price; without dev the price decides."""
    p_ngrams = ngrams.prob(dev)
    price = 2 * abs(len(ngrams.orders) - 1 - 5) + 50 * abs(ngrams.discount - 1)
    return min(((total_loss(w, p_network, p_ngrams) + price + 100 * (w - usual)**2)
                / max(1, len(dev)), w) for w in WEIGHTS)


def choose(train, dev, p_network, vocab_size):
    """The KneserNey of train, and its weight, that best_weight() finds best."""
    usual = 0.5 / (1 + 200 / len(train))  # the network has learned little from little data
    ngrams = kneser_ney.KneserNey(train, vocab_size, 0)
    kneser_ney.tune(ngrams, train, lambda model: best_weight(model, p_network, dev, usual)[0])
    return ngrams, best_weight(ngrams, p_network, dev, usual)[1]


def report(name, model, ngrams, weight, rows):
    """Prints the losses of the network, of the n-grams, and of the two mixed."""
    p_network, p_ngrams = network_prob(model, rows), ngrams.prob(rows)
    losses = (total_loss(w, p_network, p_ngrams) / max(1, len(rows)) for w in (1, 0, weight))
    print("{}: network {:.4f} | n-grams {:.4f} | mixed {:.4f}".format(name, *losses)
          + f" | weight {weight:.2f}", flush=True)


def main(argv):
    parser = argparse.ArgumentParser(prog="mix.py", usage=argparse.SUPPRESS, allow_abbrev=False,
                                     description=__doc__.split("\n")[1])
    parser.add_argument("--out_dir", default="out", help="folder of mlp.pt (default: out)")
    path = os.path.join(parser.parse_args(argv).out_dir, "mlp.pt")
    run = mlp.read_run(path)
    config, itos, model = run["config"], run["itos"], mlp.best_model(run)
    words = mlp.read_words(config["input_file"], config["keep_duplicates"])
    if zlib.crc32("\n".join(words).encode()) != run["checksum"]:
        raise ValueError(f"{config['input_file']} has changed since {path} was trained; run mlp.py "
                         "again")
    block_size = max(kneser_ney.MAX_BLOCK_SIZE, model.block_size)
    train, dev, test = (mlp.encode(part, itos, block_size)
                        for part in mlp.split_words(words, config["train_frac"]))
    words, some = None, dev[:mlp.RESULT_ROWS]  # enough to choose on
    ngrams, weight = choose(train, some, network_prob(model, some), len(itos))
    if len(dev):
        report("dev", model, ngrams, weight, some)
    block_size, discount = len(ngrams.orders) - 1, ngrams.discount
    train, ngrams = torch.cat([train, dev])[:, -1 - max(1, block_size):], None  # frees memory
    ngrams = kneser_ney.KneserNey(train, len(itos), block_size, discount)  # dev is counted, too
    if len(test):
        report("test", model, ngrams, weight, test)
    orders = [{name: order[name] for name in ("context_keys", "keys", "kept", "backoff")}
              for order in ngrams.orders]
    mlp.save_run({**run, "orders": orders, "weight": weight}, path)


if __name__ == "__main__":
    mlp.start(main)
