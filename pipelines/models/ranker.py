"""The ranker: how likely a user is to watch, complete, share, follow, skip, turn down or report a title.

DLRM (Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019): a
bottom network makes a vector of the dense features, each categorical has an embedding of the same width, the dot
products of all pairs of these vectors go with the dense vector into a top network; each head is linear in its last
layer and in the dense features themselves (Cheng et al., "Wide & Deep Learning", 2016). In training every head has an
additive logit for the slot at which the title was shown (Zhao et al., "Recommending What Video to Watch Next", 2019,
and Guo et al., "PAL", 2019), which is put at its mean when titles are scored. Training is in
`pipelines.models.ranker_training`.

Shapes: N pairs, F dense features, C categoricals, V = C + 1 vectors, W their width, H heads.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from feature_defs.ranking import CATEGORICALS, DENSE_FEATURES, HEADS, POLICY_WEIGHTS
from pipelines.errors import DataError
from pipelines.models.calibration import Calibration
from pipelines.models.device import device_in_use
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.ranker_inputs import RankerInputs

FILES = ("ranker.safetensors", "ranker.json")
_FORMAT = 1
# Pairs scored at once: what they need stays in the processor's cache.
_PAIRS_AT_ONCE = 8192
# Nothing is certain, but large logits round to it.
ALMOST_CERTAIN = np.nextafter(np.float32(1), np.float32(0))
# Dense features lie within this many standard deviations of their mean, or are put there.
FARTHEST = 5.0


class RankerNetwork(nn.Module):
    """Logits of all heads, from standardised dense features and codes."""

    starts: torch.Tensor
    pairs: torch.Tensor

    def __init__(self, configuration: RankerConfiguration) -> None:
        super().__init__()
        dense, width = len(DENSE_FEATURES), configuration.width
        vectors = len(CATEGORICALS) + 1
        first, second = configuration.top_units
        sizes = [categorical.bucket_count for categorical in CATEGORICALS]
        self.embedding = nn.Embedding(sum(sizes), width)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width * 4))
        self.bottom = nn.Sequential(
            nn.Linear(dense, configuration.bottom_units),
            nn.ReLU(),
            nn.Linear(configuration.bottom_units, width),
        )
        self.top = nn.Sequential(
            nn.Linear(width + vectors * (vectors - 1) // 2, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()
        )
        self.heads = nn.Linear(second + dense, len(HEADS))
        # From zero, a head without labels stays at zero to the last bit.
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)
        self.slot_bias = nn.Embedding(configuration.slot_count + 1, len(HEADS))
        nn.init.zeros_(self.slot_bias.weight)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        left, right = np.tril_indices(vectors, -1)
        self.register_buffer("starts", torch.from_numpy(starts), persistent=False)
        self.register_buffer("pairs", torch.from_numpy(left * vectors + right), persistent=False)

    def forward(self, dense: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Logits [N, H] without the slot's part, from standardised dense features [N, F] and codes [N, C]."""
        return self.of_vectors(dense, self.embedding(codes + self.starts))

    def of_vectors(self, dense: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """The same from the vectors of the codes [N, C, W]."""
        bottom = self.bottom(dense)
        vectors = torch.cat([bottom.to(embedded.dtype)[:, None], embedded], dim=1)
        dots = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, self.pairs)
        top = self.top(torch.cat([bottom, dots.to(bottom.dtype)], dim=1))
        logits: torch.Tensor = self.heads(torch.cat([top, dense.to(top.dtype)], dim=1))
        return logits.float()


@dataclass(frozen=True)
class RankerFacts:
    """What a ranker knows beside its weights.

    `means`, `scales`: float32 [F], by which dense features are standardised. `is_masked`: bool [H], heads that had no
    labels: predicted as 0. `neutral`: float32 [H], the mean slot logit. `weights`: float64 [H], of the score.
    """

    configuration: RankerConfiguration
    means: NDArray[np.float32]
    scales: NDArray[np.float32]
    is_masked: NDArray[np.bool_]
    neutral: NDArray[np.float32]
    calibration: Calibration
    weights: NDArray[np.float64]
    first_day: date
    last_day: date

    def __post_init__(self) -> None:
        for name, values, count in (
            ("means", self.means, len(DENSE_FEATURES)),
            ("scales", self.scales, len(DENSE_FEATURES)),
            ("masks", self.is_masked, len(HEADS)),
            ("neutral slot logits", self.neutral, len(HEADS)),
            ("calibration slopes", self.calibration.slopes, len(HEADS)),
            ("policy weights", self.weights, len(HEADS)),
        ):
            if values.shape != (count,):
                raise DataError(f"a ranker has {name} of shape {values.shape}; {count} are expected")
            if not np.isfinite(values).all():
                raise DataError(f"the {name} of a ranker are not all finite")
        if not (self.scales > 0).all():
            raise DataError("the scales of a ranker are not all positive")


class Ranker:
    """A trained ranker, on the device it was made for."""

    def __init__(self, network: RankerNetwork, facts: RankerFacts, device: torch.device | None = None) -> None:
        self.device = device or device_in_use()
        self.network = network.to(self.device).eval()
        self.facts = facts

    @property
    def is_masked(self) -> NDArray[np.bool_]:
        """Which heads had no labels: bool [H]."""
        return self.facts.is_masked

    def logits(self, inputs: RankerInputs, *, with_slots: bool, is_bf16: bool | None = None) -> NDArray[np.float32]:
        """Logits before calibration: float32 [N, H].

        Args:
            inputs: N pairs.
            with_slots: whether the slots of the inputs count, or the mean slot does.
            is_bf16: whether layers multiply in bfloat16; by default on CUDA alone.
        """
        facts, device = self.facts, self.device
        is_bf16 = device.type == "cuda" if is_bf16 is None else is_bf16
        means, scales = (torch.from_numpy(values).to(device) for values in (facts.means, facts.scales))
        neutral = torch.from_numpy(facts.neutral).to(device)
        logits = np.empty((len(inputs), len(HEADS)), np.float32)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            for start in range(0, len(inputs), _PAIRS_AT_ONCE):
                part = slice(start, start + _PAIRS_AT_ONCE)
                dense, codes, slots = tensors(inputs.rows(part), facts.configuration.slot_count, device)
                found = self.network(standardised(dense, means, scales), codes)
                found += self.network.slot_bias(slots) if with_slots else neutral
                logits[part] = found.cpu().numpy()
        return logits

    def predict(self, inputs: RankerInputs, *, is_bf16: bool | None = None) -> NDArray[np.float32]:
        """Calibrated expected share and probabilities: float32 [N, H]; 0 in masked heads. Slots are not read."""
        calibration = self.facts.calibration
        logits = self.logits(inputs, with_slots=False, is_bf16=is_bf16)
        logits *= calibration.slopes.astype(np.float32)
        logits += calibration.intercepts.astype(np.float32)
        # In place, on the memory of `logits`; NumPy alone has no logistic function that is exact for rare events.
        torch.from_numpy(logits).sigmoid_()
        np.minimum(logits, ALMOST_CERTAIN, out=logits)
        logits *= ~self.facts.is_masked
        return logits

    def score(self, inputs: RankerInputs, *, is_bf16: bool | None = None) -> NDArray[np.float32]:
        """What a title is worth to a user: predictions weighted by the policy, float32 [N]."""
        scores: NDArray[np.float32] = self.predict(inputs, is_bf16=is_bf16) @ self.facts.weights.astype(np.float32)
        return scores

    def to_files(self) -> dict[str, bytes]:
        """The ranker as files by name: weights as safetensors, everything else as JSON. No pickle."""
        facts = self.facts
        described = {
            "format": _FORMAT,
            "configuration": asdict(facts.configuration),
            "dense_features": [feature.name for feature in DENSE_FEATURES],
            "categoricals": {categorical.name: categorical.bucket_count for categorical in CATEGORICALS},
            "heads": list(HEADS),
            "masked_heads": [head for head, is_masked in zip(HEADS, facts.is_masked, strict=True) if is_masked],
            "policy_weights": facts.weights.tolist(),
            "means": facts.means.astype(np.float64).tolist(),
            "scales": facts.scales.astype(np.float64).tolist(),
            "neutral": facts.neutral.astype(np.float64).tolist(),
            "slopes": facts.calibration.slopes.tolist(),
            "intercepts": facts.calibration.intercepts.tolist(),
            "first_day": str(facts.first_day),
            "last_day": str(facts.last_day),
        }
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        return {
            "ranker.safetensors": safetensors.torch.save(weights),
            "ranker.json": json.dumps(described, sort_keys=True, indent=1).encode(),
        }

    @staticmethod
    def from_files(files: Mapping[str, bytes], device: torch.device | None = None) -> "Ranker":
        """The ranker that `to_files` wrote.

        Raises:
            DataError: if a file lacks or cannot be read, is of another format, was made for other features, holds
                weights that are not finite, or does not fit together. A dense feature that was not declared yet when
                it was made is read with weight zero.
        """
        for name in FILES:
            if name not in files:
                raise DataError(f"a ranker lacks its file {name}")
        try:
            described: dict[str, Any] = json.loads(files["ranker.json"])
            weights = safetensors.torch.load(files["ranker.safetensors"])
        except (ValueError, safetensors.SafetensorError) as error:
            raise DataError(f"the files of a ranker cannot be read: {error}") from None
        if not isinstance(described, dict) or described.get("format") != _FORMAT:
            found = described.get("format") if isinstance(described, dict) else None
            raise DataError(f"a ranker is of format {found}; this code reads {_FORMAT}")
        weights = _widened(weights, described)
        facts = _facts(described)
        with torch.random.fork_rng(devices=[]):
            network = RankerNetwork(facts.configuration)
        expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
        if {name: tensor.shape for name, tensor in weights.items()} != expected:
            raise DataError("the weights of a ranker do not have the dimensions of its configuration")
        for name, tensor in weights.items():
            if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
                raise DataError(f"the weights {name} of a ranker are not all finite 32-bit floats")
        network.load_state_dict(weights)
        return Ranker(network, facts, device)

    def with_calibration(self, calibration: Calibration) -> "Ranker":
        """The same ranker under another calibration."""
        return Ranker(self.network, replace(self.facts, calibration=calibration), self.device)


def _widened(weights: Mapping[str, torch.Tensor], described: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a ranker that was made before some dense features were declared, which it reads with weight zero;
    its description is completed in place. What is otherwise not as declared is left for others to refuse.
    """
    declared, known = [feature.name for feature in DENSE_FEATURES], described.get("dense_features")
    if not isinstance(known, list) or not 0 < len(known) < len(declared):
        return dict(weights)
    if known != [name for name in declared if name in known]:
        return dict(weights)
    columns = torch.tensor([declared.index(name) for name in known])
    widened = dict(weights)
    try:
        for name in ("bottom.0.weight", "heads.weight"):
            narrow = weights[name]
            # Dense features come last in either.
            ahead = narrow.shape[1] - len(known)
            widened[name] = torch.zeros(len(narrow), ahead + len(declared), dtype=narrow.dtype)
            widened[name][:, :ahead] = narrow[:, :ahead]
            widened[name][:, ahead + columns] = narrow[:, ahead:]
        for name, missing in (("means", 0.0), ("scales", 1.0)):
            by_feature = dict(zip(known, described[name], strict=True))
            described[name] = [by_feature.get(feature, missing) for feature in declared]
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError):
        return dict(weights)
    described["dense_features"] = declared
    return widened


def _facts(described: Mapping[str, Any]) -> RankerFacts:
    for name, declared in (
        ("dense_features", [feature.name for feature in DENSE_FEATURES]),
        ("categoricals", {categorical.name: categorical.bucket_count for categorical in CATEGORICALS}),
        ("heads", list(HEADS)),
    ):
        if described.get(name) != declared:
            raise DataError(f"a ranker was made for other {name} than are declared now")
    try:
        values = dict(described["configuration"])
        first, second = values.pop("top_units")
        return RankerFacts(
            RankerConfiguration(**values, top_units=(first, second)),
            np.array(described["means"], np.float32),
            np.array(described["scales"], np.float32),
            np.isin(HEADS, described["masked_heads"]),
            np.array(described["neutral"], np.float32),
            Calibration(np.array(described["slopes"], np.float64), np.array(described["intercepts"], np.float64)),
            np.array(described["policy_weights"], np.float64),
            date.fromisoformat(described["first_day"]),
            date.fromisoformat(described["last_day"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the description of a ranker is not as it is written: {error!r}") from None


def declared_weights() -> NDArray[np.float64]:
    """The policy weights that are declared now: float64 [H]."""
    return np.array(POLICY_WEIGHTS, np.float64)


def standardised(dense: torch.Tensor, means: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Dense features [N, F] less their means, over their scales, none farther out than 5."""
    return ((dense - means) / scales).clamp_(-FARTHEST, FARTHEST)


def tensors(
    inputs: RankerInputs, slot_count: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Dense features float32 [N, F], codes int64 [N, C] and slot buckets int64 [N], 0 for an unknown slot."""
    buckets = np.clip(np.asarray(inputs.slots, np.int64) + 1, 0, slot_count)
    arrays = (np.asarray(inputs.dense, np.float32), np.asarray(inputs.codes, np.int64), buckets)
    dense, codes, slots = (torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays)
    return dense.to(device), codes.to(device), slots.to(device)
