"""Peers of the ranker, each learned from the same rows, each giving the same seven predictions a row.

A plain DLRM of the ranker's size: an embedding a categorical, a loop over them, `torch.bmm` for the dot products, Adam
and PyTorch's own loss, as one writes it from the paper (Naumov et al., 2019). Boosted trees, one model a head, by
scikit-learn as it comes. A logistic regression of all heads, over the dense features and a weight a code.
"""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from torch import Tensor, nn

from feature_defs.ranking import CATEGORICALS, DENSE_FEATURES, HEADS
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.ranker_inputs import RankerInputs

STEP = RankerConfiguration().learning_rate
# Codes of a column that trees tell apart: what scikit-learn has room for.
TREE_CODES = 254
SIZES = [categorical.bucket_count for categorical in CATEGORICALS]


class PlainDlrm(nn.Module):
    """Logits [N, H] from dense features [N, F] and codes [N, C]."""

    def __init__(self, configuration: RankerConfiguration) -> None:
        super().__init__()
        width, (first, second) = configuration.width, configuration.top_units
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in SIZES)
        for table in self.tables:
            nn.init.uniform_(table.weight, -(table.num_embeddings**-0.5), table.num_embeddings**-0.5)
        self.bottom = nn.Sequential(
            nn.Linear(len(DENSE_FEATURES), configuration.bottom_units),
            nn.ReLU(),
            nn.Linear(configuration.bottom_units, width),
        )
        vectors = len(SIZES) + 1
        self.left, self.right = np.tril_indices(vectors, -1)
        self.top = nn.Sequential(
            nn.Linear(width + len(self.left), first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, len(HEADS)),
        )

    def forward(self, dense: Tensor, codes: Tensor) -> Tensor:
        bottom = self.bottom(dense)
        vectors = torch.stack([bottom, *(table(codes[:, at]) for at, table in enumerate(self.tables))], 1)
        dots = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.left, self.right]
        return self.top(torch.cat([bottom, dots], 1))


class Logistic(nn.Module):
    """Logits [N, H]: linear in the dense features, and a weight for each code and head."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(len(DENSE_FEATURES), len(HEADS))
        self.codes = nn.EmbeddingBag(sum(SIZES), len(HEADS), mode="sum")
        nn.init.zeros_(self.codes.weight)
        self.starts = torch.from_numpy(np.concatenate([[0], np.cumsum(SIZES)[:-1]]))

    def forward(self, dense: Tensor, codes: Tensor) -> Tensor:
        return self.dense(dense) + self.codes(codes + self.starts)


class Network:
    """One of the two above, learned by Adam over passes; the pass best on the held-out rows is kept."""

    def __init__(self, model: nn.Module, seed: int = 1) -> None:
        self.model, self.seed = model, seed

    def fit(
        self, inputs: RankerInputs, labels: NDArray, learning: NDArray, held_out: NDArray, passes: int
    ) -> "Network":
        dense = inputs.dense[learning]
        deviations = dense.std(0)
        # What never changed in learning must not blow up when it does.
        self.means, self.scales = dense.mean(0), np.where(deviations > 1e-6, deviations, 1)
        optimiser = torch.optim.Adam(self.model.parameters(), lr=STEP)
        generator = np.random.default_rng(self.seed)
        step_rows = RankerConfiguration().rows_a_step(len(learning))
        best = math.inf
        for _ in range(passes):
            self.model.train()
            order = generator.permutation(learning)
            for start in range(0, len(order), step_rows):
                rows = order[start : start + step_rows]
                loss = loss_of(self.logits(inputs.rows(rows)), torch.from_numpy(labels[rows]))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.inference_mode():
                found = loss_of(self.all_logits(inputs.rows(held_out)), torch.from_numpy(labels[held_out]))
            if found < best:
                best, state = float(found), copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(state)
        return self

    def predict(self, inputs: RankerInputs) -> NDArray[np.float32]:
        """Predictions of all heads: float32 [N, H]."""
        with torch.inference_mode():
            return self.all_logits(inputs).sigmoid_().numpy()

    def all_logits(self, inputs: RankerInputs) -> Tensor:
        self.model.eval()
        parts = [self.logits(inputs.rows(slice(at, at + 8192))) for at in range(0, len(inputs), 8192)]
        return torch.cat(parts)

    def logits(self, inputs: RankerInputs) -> Tensor:
        dense = ((inputs.dense - self.means) / self.scales).astype(np.float32)
        return self.model(torch.from_numpy(dense), torch.from_numpy(np.asarray(inputs.codes, np.int64)))


def plain_dlrm(configuration: RankerConfiguration) -> Network:
    """The plain DLRM, not yet learned."""
    torch.manual_seed(configuration.seed)
    return Network(PlainDlrm(configuration))


def logistic_regression() -> Network:
    """The logistic regression, not yet learned."""
    torch.manual_seed(1)
    return Network(Logistic())


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the labels that are there."""
    known = ~torch.isnan(labels)
    return nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known])


class Trees:
    """Boosted trees, one model a head; the watched share by least squares, all else as what it is, yes or no."""

    def fit(self, inputs: RankerInputs, labels: NDArray, learning: NDArray) -> "Trees":
        codes = inputs.codes[learning]
        self.frequent = [
            np.argsort(-np.bincount(codes[:, at], minlength=size), kind="stable")[:TREE_CODES]
            for at, size in enumerate(SIZES)
        ]
        columns = self._columns(inputs.rows(learning))
        is_code = np.arange(columns.shape[1]) >= len(DENSE_FEATURES)
        self.models = []
        for head, name in enumerate(HEADS):
            label = labels[learning, head]
            known = ~np.isnan(label)
            kind = HistGradientBoostingRegressor if name == "watch" else HistGradientBoostingClassifier
            model = kind(categorical_features=is_code, random_state=1)
            self.models.append(model.fit(columns[known], label[known]))
        return self

    def predict(self, inputs: RankerInputs) -> NDArray[np.float32]:
        """Predictions of all heads: float32 [N, H]."""
        columns = self._columns(inputs)
        found = [
            model.predict_proba(columns)[:, 1] if hasattr(model, "predict_proba") else model.predict(columns).clip(0, 1)
            for model in self.models
        ]
        return np.stack(found, 1).astype(np.float32)

    def _columns(self, inputs: RankerInputs) -> NDArray[np.float32]:
        """Dense features, then the places of codes among the most frequent of each column; NaN for others."""
        places = []
        for at, (frequent, size) in enumerate(zip(self.frequent, SIZES, strict=True)):
            place = np.full(size, np.nan, np.float32)
            place[frequent] = np.arange(len(frequent))
            places.append(place[inputs.codes[:, at]])
        return np.column_stack([np.asarray(inputs.dense, np.float32), *places])
