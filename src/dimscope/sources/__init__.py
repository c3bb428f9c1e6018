"""Sources: networks by name, from torchvision, timm, transformers and Python files."""

from dimscope.sources.models import load_model

__all__ = ["load_model"]
