"""
The characters whose embeddings are nearest to those of others, by cosine similarity.

    python tests/neighbours.py aeknz              # in out/mlp.pt
    python tests/neighbours.py aeknz towns        # in towns/mlp.pt
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch.nn.functional as F

import mlp

characters, folder = [*sys.argv[1:], "out"][:2]
model, itos = mlp.load(f"{folder}/mlp.pt")
C = F.normalize(model.C.detach(), dim=1)  # (vocab_size, n_embd), each row of length 1
for ch in characters:
    similarity = C @ C[itos.index(ch)]    # (vocab_size,)
    values, tokens = similarity.topk(5)   # itself first, with 1
    print(ch, " ".join(f"{itos[token]!r} {value:.2f}" for value, token in
                       zip(values.tolist()[1:], tokens.tolist()[1:])))
