"""AVER: all teachers, one weight."""

from mmdynakd.registry import MODELS

from .base import Selection


@MODELS.register_module()
class Average(Selection):
    """AVER: every teacher with weight 1/n, of the outputs or of the losses as the lane's
    ``mix`` says.

    Source: You et al., "Learning from Multiple Teacher Networks", KDD 2017 (soft targets averaged).
    """
