"""What a robot needs to be driven by a Volition policy server: numpy, msgpack and websockets only, Python >= 3.8."""

from volition_client.chunks import ChunkBroker, Policy, TemporalEnsemble
from volition_client.client import Client
from volition_client.codec import DecodeError, DecodeLimits, pack, unpack
from volition_client.envelope import Envelope
from volition_client.errors import ConnectionLostError, ServerError
from volition_client.motion import Guarded, Intervention
from volition_client.realtime import OutOfActionsError, RealtimeChunks
from volition_client.safety import ActionLayout, Hold, SafetyLimits, load_limits
from volition_client.watchdog import Watchdog

__all__ = [
    "ActionLayout",
    "ChunkBroker",
    "Client",
    "ConnectionLostError",
    "DecodeError",
    "DecodeLimits",
    "Envelope",
    "Guarded",
    "Hold",
    "Intervention",
    "OutOfActionsError",
    "Policy",
    "RealtimeChunks",
    "SafetyLimits",
    "ServerError",
    "TemporalEnsemble",
    "Watchdog",
    "load_limits",
    "pack",
    "unpack",
]
