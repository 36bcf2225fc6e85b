"""How far a training of the towers is, laid down so that it goes on from there as if it had never been cut off."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pipelines.models.processes import is_first_process
from pipelines.models.towers_learner import Learner


def keep(learner: Learner, folder: Path, purpose: str, step: int) -> None:
    """Write weights, the best so far, the optimiser's moments and the step; the step's file last, whole or not at all.

    Args:
        learner: whose they are; of several processes the first writes.
        folder: made if missing; holds one checkpoint.
        purpose: says of which training it is.
        step: the last that was taken.
    """
    if not is_first_process():
        return
    folder.mkdir(parents=True, exist_ok=True)
    network, optimiser = learner.network, learner.optimiser
    tensors = {f"weights.{name}": tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    tensors |= {f"best.{name}": tensor.cpu().contiguous() for name, tensor in learner.best.items()}
    for name, parameter in network.named_parameters():
        for moment, tensor in optimiser.state[parameter].items():
            tensors[f"{moment}.{name}"] = torch.as_tensor(tensor).detach().cpu().contiguous()
    save_file(tensors, folder / f"step-{step}.safetensors")
    partial = folder / "checkpoint.json.partial"
    passed = {"judged": learner.judged, "best_at": learner.best_at, "best_loss": learner.best_loss}
    partial.write_text(json.dumps({"step": step, "purpose": purpose} | passed), encoding="utf-8")
    partial.replace(folder / "checkpoint.json")
    for old in folder.glob("step-*.safetensors"):
        if old.name != f"step-{step}.safetensors":
            old.unlink()


def resume(learner: Learner, folder: Path, purpose: str) -> int:
    """Take up the checkpoint of a folder, if there is one of this training; returns its step, or 0."""
    place = folder / "checkpoint.json"
    if not place.is_file():
        return 0
    described = json.loads(place.read_text(encoding="utf-8"))
    if described["purpose"] != purpose:
        return 0
    step = int(described["step"])
    kinds: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(folder / f"step-{step}.safetensors").items():
        kind, _, name = key.partition(".")
        kinds.setdefault(kind, {})[name] = tensor.to(learner.device)
    learner.network.load_state_dict(kinds.pop("weights"))
    learner.best = kinds.pop("best", {})
    parameters = dict(learner.network.named_parameters())
    for moment, tensors in kinds.items():
        for name, tensor in tensors.items():
            learner.optimiser.state[parameters[name]][moment] = tensor
    learner.judged, learner.best_at = int(described["judged"]), int(described["best_at"])
    learner.best_loss = float(described["best_loss"])
    return step
