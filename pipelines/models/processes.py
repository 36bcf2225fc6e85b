"""Processes that train together, as `torchrun` starts them."""

import torch
import torch.distributed as dist


def join_processes(count: int, localrank: int) -> None:
    """Join the `count` processes that `torchrun` started, if there are several: gloo on CPU, NCCL on GPU."""
    if count > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(localrank)
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def is_first_process() -> bool:
    """Whether this process is the one that keeps what was learned."""
    return rank() == 0


def rank() -> int:
    """Which of the processes this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1
