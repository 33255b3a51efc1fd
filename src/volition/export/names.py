"""Names that the command line needs before anything heavy is imported."""

from __future__ import annotations

from typing import Literal

TargetName = Literal["onnx", "onnx-int8", "onnx-int4", "openvino", "torch-export", "torch-float8", "aoti"]
CODE = "native_code"  # what --allow must name for targets whose files run code of their own when they are opened
