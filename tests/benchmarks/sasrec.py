"""A plain SASRec, the sequence peer: as its paper has it, but for the full softmax in place of one sampled negative.

Kang and McAuley, "Self-Attentive Sequential Recommendation" (2018); with the full softmax it beats the original by far
(Klenitskiy and Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?", 2023). 64 dimensions,
2 layers, 2 heads, the newest 200 titles padded to the longest of a batch of 128, learned positions, inner products,
dropout .2, Adam with steps of .001, PyTorch's own layers and loss.
"""

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.histories import Histories

WIDTH, LAYERS, HEADS, LENGTH, DROPOUT, BATCH, STEP = 64, 2, 2, 200, 0.2, 128, 1e-3


class SasRec(nn.Module):
    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(items + 1, WIDTH, padding_idx=0)
        self.places = nn.Embedding(LENGTH, WIDTH)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, DROPOUT, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.last = nn.LayerNorm(WIDTH)

    def forward(self, titles: Tensor) -> Tensor:
        """[B, T] of codes from 1, padded with 0 after the newest, to [B, T, E]."""
        x = F.dropout(self.items(titles) + self.places.weight[: titles.shape[1]], DROPOUT, self.training)
        mask = nn.Transformer.generate_square_subsequent_mask(titles.shape[1], device=titles.device)
        return self.last(self.layers(x, mask=mask, is_causal=True))


def loss_of(model: SasRec, titles: Tensor) -> Tensor:
    """Mean loss of predicting each title from those before it."""
    read = model(titles[:, :-1])
    wanted = titles[:, 1:]
    logits = read[wanted > 0] @ model.items.weight[1:].T
    return F.cross_entropy(logits, wanted[wanted > 0] - 1)


def batches(histories: Histories, items: NDArray, generator: np.random.Generator) -> list[Tensor]:
    """The newest 201 titles of each user, in batches padded to their longest."""
    newest = histories.newest(LENGTH + 1)
    codes = np.searchsorted(items, newest.item_ids) + 1
    users = generator.permutation(len(newest.user_ids))
    found = []
    for start in range(0, len(users), BATCH):
        part = users[start : start + BATCH]
        lengths = newest.offsets[part + 1] - newest.offsets[part]
        titles = np.zeros((len(part), max(int(lengths.max()), 2)), np.int64)
        for row, user in enumerate(part):
            titles[row, : lengths[row]] = codes[newest.offsets[user] : newest.offsets[user + 1]]
        found.append(torch.as_tensor(titles))
    return found


def train(histories: Histories, items: NDArray, minutes: float, seed: int = 1) -> SasRec:
    """Train for so many minutes, or until three passes in a row did not better predict what was held out.

    Of every user the newest title is held out; the weights of the best pass are taken. (Protocol B gives it the
    histories without the validation item: what it holds out is the one before.)
    """
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = SasRec(len(items))
    optimiser = torch.optim.Adam(model.parameters(), lr=STEP)
    is_newest = histories.positions_from_newest() == 0
    learned, wanted = histories.where(~is_newest), histories.item_ids[is_newest]
    best, best_gain, passes, at = None, -1.0, 0, 0
    started = time.monotonic()
    while time.monotonic() - started < 60 * minutes and passes - at < 3:
        model.train()
        total = 0.0
        for titles in batches(learned, items, generator):
            loss = loss_of(model, titles)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
            if time.monotonic() - started > 60 * minutes:
                break
        passes += 1
        found = scores(model, learned, items)
        found[learned.owners(), np.searchsorted(items, learned.item_ids)] = -np.inf
        own = found[np.arange(len(wanted)), np.searchsorted(items, wanted)]
        rank = (found >= own[:, None]).sum(1) - 1
        gain = float(np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean())
        print(f"  sasrec pass {passes}: ndcg {gain:.4f}, {time.monotonic() - started:,.0f} s", flush=True)
        if gain > best_gain:
            best_gain, at = gain, passes
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if best is not None:
        model.load_state_dict(best)
    return model


def scores(model: SasRec, histories: Histories, items: NDArray) -> NDArray[np.float32]:
    """Of all items for the place after the newest title of each history: float32 [U, I]."""
    model.eval()
    newest = histories.newest(LENGTH)
    at = np.searchsorted(items, newest.item_ids).clip(max=len(items) - 1)
    codes = np.where(items[at] == newest.item_ids, at + 1, 0)
    found = np.zeros((len(newest.user_ids), len(items)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(found), 256):
            users = np.arange(start, min(start + 256, len(found)))
            lengths = newest.offsets[users + 1] - newest.offsets[users]
            titles = np.zeros((len(users), max(int(lengths.max()), 1)), np.int64)
            for row, user in enumerate(users):
                titles[row, : lengths[row]] = codes[newest.offsets[user] : newest.offsets[user + 1]]
            read = model(torch.as_tensor(titles))[torch.arange(len(users)), torch.as_tensor(lengths - 1).clamp(min=0)]
            found[users] = (read @ model.items.weight[1:].T).numpy()
    return found
