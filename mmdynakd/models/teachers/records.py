"""What recorders of a teacher keep in a pass: nested lists of tensors, a row a sample."""

from typing import Any

import torch

Records = dict[str, dict[str, list]]
OUTPUTS = 'outputs'  # key of the network's output in every teacher's records


def flatten(record: Any) -> tuple[Any, list[torch.Tensor]]:
    """A record as its structure, for JSON, and its tensors in order.

    Raises:
        TypeError: for something that is no tensor, list, tuple or dict of such.
    """
    leaves: list[torch.Tensor] = []

    def walk(item: Any) -> Any:
        if isinstance(item, torch.Tensor):
            leaves.append(item)
            return len(leaves) - 1
        if isinstance(item, dict):
            return {'dict': {key: walk(value) for key, value in item.items()}}
        if type(item) in (list, tuple):
            return {type(item).__name__: [walk(part) for part in item]}
        raise TypeError(f'a record holds a {type(item).__name__}, which is no tensor')

    return walk(record), leaves


def rebuild(structure: Any, leaves: list[torch.Tensor]) -> Any:
    """The record of a structure."""
    if isinstance(structure, int):
        return leaves[structure]
    ((kind, parts),) = structure.items()
    if kind == 'dict':
        return {key: rebuild(part, leaves) for key, part in parts.items()}
    parts = [rebuild(part, leaves) for part in parts]
    return tuple(parts) if kind == 'tuple' else parts


def spread(record: Any, rows: torch.Tensor, whole: int) -> Any:
    """A record of the samples ``rows`` as one of the whole batch, 0 elsewhere."""
    if isinstance(record, dict):
        return {key: spread(part, rows, whole) for key, part in record.items()}
    if isinstance(record, (list, tuple)):
        return type(record)(spread(part, rows, whole) for part in record)
    if not isinstance(record, torch.Tensor) or record.dim() == 0 or len(record) != len(rows):
        return record
    return record.new_zeros(whole, *record.shape[1:]).index_copy_(0, rows, record)
