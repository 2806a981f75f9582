"""
The characters whose embeddings are nearest to those of others, by cosine similarity.

    python experiments/neighbours.py aeknz              # in out/mlp.pt
    python experiments/neighbours.py aeknz towns        # in towns/mlp.pt
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch.nn.functional as F

import mlp


def main(argv):
    if not argv:
        raise ValueError("name some characters, as in: python experiments/neighbours.py aeknz")
    characters, folder = [*argv, "out"][:2]
    run = mlp.read_run(f"{folder}/mlp.pt")
    model, itos = mlp.best_model(run), run["itos"]
    C = F.normalize(model.C.detach(), dim=1)  # (vocab_size, n_embd), each row of length 1
    for ch in characters:
        if ch not in itos:
            raise ValueError(f"the model does not know {ch!r}")
        values, tokens = (C @ C[itos.index(ch)]).topk(min(5, len(itos)))  # itself first, with 1
        print(ch, " ".join(f"{itos[token]!r} {value:.2f}" for value, token in
                           zip(values.tolist()[1:], tokens.tolist()[1:])))


if __name__ == "__main__":
    mlp.start(main)
