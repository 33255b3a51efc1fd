"""Policy heads, one file each. A head of your own needs no registration: name its config in your recipe."""

from volition.heads.base import ActionLoss, Head, HeadConfig, SpaceChecked
from volition.heads.diffusion import DiffusionHeadConfig
from volition.heads.discrete import DiscreteHeadConfig
from volition.heads.ensemble import EnsembleHeadConfig
from volition.heads.expert import ExpertHeadConfig
from volition.heads.fast import FASTHeadConfig
from volition.heads.flow import FlowHeadConfig
from volition.heads.gate import GateHeadConfig
from volition.heads.gpt2 import GPT2HeadConfig
from volition.heads.lstm import LSTMHeadConfig
from volition.heads.mlp import MLPHeadConfig

AnyHead = (
    LSTMHeadConfig
    | MLPHeadConfig
    | GPT2HeadConfig
    | FlowHeadConfig
    | DiffusionHeadConfig
    | DiscreteHeadConfig
    | FASTHeadConfig
    | ExpertHeadConfig
    | EnsembleHeadConfig
    | GateHeadConfig
    | HeadConfig
)

__all__ = [
    "ActionLoss",
    "AnyHead",
    "DiffusionHeadConfig",
    "DiscreteHeadConfig",
    "EnsembleHeadConfig",
    "ExpertHeadConfig",
    "FASTHeadConfig",
    "FlowHeadConfig",
    "GPT2HeadConfig",
    "GateHeadConfig",
    "Head",
    "HeadConfig",
    "LSTMHeadConfig",
    "MLPHeadConfig",
    "SpaceChecked",
]
