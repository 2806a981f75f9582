"""
Mixes the network with n-grams, as Bengio et al. (2003, section 4.2) do for their best model:

    p = weight * p_network + (1 - weight) * p_ngrams

    python mix.py                    # out/mlp.pt -> out/ngrams.pt; names.txt: dev 1.9476
    python mix.py --out_dir=towns    # the same in another folder

Kneser-Ney knows what it has seen, the network generalises to what it has not. Their errors differ,
and the mixture is better than both. Context length, discount and weight are chosen on dev; test is
evaluated once, at the end. export.py writes network and n-grams to one file for ./sample.
"""

import argparse
import os
import zlib

import torch
import torch.nn.functional as F

import bigram
import export
import mlp

BLOCK_SIZES = range(2, 13)
DISCOUNTS = [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]
WEIGHTS = [i / 100 for i in range(101)]  # both ends are there: the mixture is never the worse model
WITHOUT_DEV = {"block_size": 5, "discount": 1.0, "weight": 0.5}  # near the best of most lists


@torch.no_grad()
def network_prob(model, rows):
    """The network's probability of each row's last token after its context, (predictions,)."""
    probs = [torch.empty(0, dtype=torch.double)]
    for batch in rows.long().split(8192):
        logits = model.forward_by_table(batch[:, -1 - model.block_size:-1])  # (B, vocab_size)
        probs.append(F.softmax(logits.double(), dim=1).gather(1, batch[:, -1:]).flatten())
    return torch.cat(probs)


def mixed_loss(weight, p_network, p_ngrams):
    """The mean loss of the mixture, from the probabilities (predictions,) of its parts."""
    return -(weight * p_network + (1 - weight) * p_ngrams).log().mean().item()


def choose(train, dev, p_network, vocab_size):
    """The KneserNey and the weight whose mixture has the lowest dev loss.

    A longer context helps up to a point: it grows until the loss no longer falls. Then the discount
    is chosen, which takes no new counts, and for each of these the weight.
    """
    best = (float("inf"),)
    for block_size in BLOCK_SIZES:
        ngrams = bigram.KneserNey(train[:, -1 - block_size:], vocab_size, 1.0)
        p_ngrams = ngrams.prob(dev)
        loss, weight = min((mixed_loss(w, p_network, p_ngrams), w) for w in WEIGHTS)
        print(f"block_size {block_size} | dev {loss:.4f} | weight {weight:.2f}", flush=True)
        if loss >= best[0]:
            break
        best = loss, weight, ngrams
    results = []
    for discount in DISCOUNTS:
        best[2].set_discount(discount)
        p_ngrams = best[2].prob(dev)
        results.append((*min((mixed_loss(w, p_network, p_ngrams), w) for w in WEIGHTS), discount))
        print("discount {2} | dev {0:.4f} | weight {1:.2f}".format(*results[-1]), flush=True)
    _, weight, discount = min(results)
    best[2].set_discount(discount)
    return best[2], weight


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
    block_size = max(*BLOCK_SIZES, model.block_size)
    train, dev, test = (mlp.encode(part, itos, block_size)
                        for part in mlp.split_words(words, config["train_frac"]))
    if len(dev):
        ngrams, weight = choose(train, dev, network_prob(model, dev), len(itos))
    else:
        print("there is no dev to choose on, so take", WITHOUT_DEV)
        ngrams = bigram.KneserNey(train[:, -1 - WITHOUT_DEV["block_size"]:], len(itos),
                                  WITHOUT_DEV["discount"])
        weight = WITHOUT_DEV["weight"]
    bigram.save(ngrams, itos, os.path.dirname(path), weight,
                zlib.crc32(export.network_bytes(run)))
    for name, part in (("test", test), ("dev", dev)) if len(dev) else ():
        p_network, p_ngrams = network_prob(model, part), ngrams.prob(part)
        losses = (mixed_loss(w, p_network, p_ngrams) for w in (1, 0, weight))
        print("{}: network {:.4f} | n-grams {:.4f} | mixed {:.4f}".format(name, *losses)
              + f" | weight {weight:.2f}")


if __name__ == "__main__":
    mlp.start(main)
