"""AVER: all teachers with the same weight."""

from mmdynakd.registry import MODELS

from .base import Selection


@MODELS.register_module()
class Average(Selection):
    """AVER: every teacher has weight 1/n.

    The lane's ``mix`` says whether the outputs or the losses are averaged.

    Source: You et al., "Learning from Multiple Teacher Networks", KDD 2017 (soft targets averaged).

    Examples:
        >>> from mmdynakd.functional import Draws
        >>> Average(['a', 'b', 'c', 'd']).choose(Draws(seed=0, step=0)).weights['c']
        0.25
    """
