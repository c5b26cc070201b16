"""Assistants between the teachers and the student: TAKD and DGKD."""

from collections.abc import Callable, Mapping
from typing import Any

UNSCALED = dict(weight_by_probability='none')


def takd(before: list[str]) -> dict[str, Any]:
    """Teacher assistants: only the one before teaches.

    Source: Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020.

    Args:
        before: the chain so far, strong to weak.

    Returns:
        The settings of the lane that learns from it.

    Examples:
        >>> takd(['strong', 'takd_middle'])['selection']['probs']
        'takd_middle'
    """
    return dict(selection=dict(probs=before[-1], **UNSCALED))


def dgkd(before: list[str]) -> dict[str, Any]:
    """Densely guided: all before teach, one of them left out at random in each step.

    Source: Son et al., "Densely Guided Knowledge Distillation using Multiple Teacher Assistants",
    ICCV 2021.

    Args:
        before: the chain so far, strong to weak.

    Returns:
        The settings of the lane that learns from it.

    Examples:
        >>> dgkd(['strong', 'dgkd_middle'])['selection']['drop']
        1
    """
    subset = dict(type='mmdynakd.RandomSubset', drop=min(1, len(before) - 1), reduction='sum')
    return dict(selection=subset, mix='losses')


CHAINS: Mapping[str, Callable[[list[str]], dict[str, Any]]] = dict(takd=takd, dgkd=dgkd)
