"""Heads that MMPretrain lacks."""

from .mlp_head import MLPClsHead

__all__ = ['MLPClsHead']
