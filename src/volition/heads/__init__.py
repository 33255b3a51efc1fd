"""Policy heads, one file each. A head of your own needs no registration: name its config in your recipe."""

from volition.heads.base import ActionLoss, Head, HeadConfig
from volition.heads.lstm import LSTMHeadConfig
from volition.heads.mlp import MLPHeadConfig

AnyHead = LSTMHeadConfig | MLPHeadConfig | HeadConfig

__all__ = ["ActionLoss", "AnyHead", "Head", "HeadConfig", "LSTMHeadConfig", "MLPHeadConfig"]
