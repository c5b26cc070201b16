"""Classification heads that MMPretrain lacks.

Backbones and losses do not belong here, nor do heads that MMPretrain has.
"""

from .mlp_head import MLPClsHead

__all__ = ['MLPClsHead']
