"""What a teacher's recorders keep of a forward pass: nested tensors, a row for each sample."""

from typing import Any

import torch

# {teacher: {recorder key: list of records}}; a record is a tensor or nested lists, tuples and dicts
Records = dict[str, dict[str, list[Any]]]
OUTPUTS = 'outputs'  # key of the network's output in every teacher's records


def flatten(record: Any) -> tuple[Any, list[torch.Tensor]]:
    """Separate a record into its structure and its tensors; :func:`rebuild` is the inverse.

    Args:
        record: A tensor, or nested lists, tuples and dicts of tensors.

    Returns:
        The structure, which JSON can hold: the number of a tensor, or ``{'list' | 'tuple' |
        'dict': parts}``; and the tensors in order.

    Raises:
        TypeError: If the record holds anything else.

    Examples:
        >>> structure, leaves = flatten([torch.zeros(2), (torch.ones(2),)])
        >>> structure, len(leaves)
        ({'list': [0, {'tuple': [1]}]}, 2)
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
        raise TypeError(f'a record holds a {type(item).__name__}, which is not a tensor')

    return walk(record), leaves


def rebuild(structure: Any, leaves: list[torch.Tensor]) -> Any:
    """Put a record together again.

    Args:
        structure: As :func:`flatten` gives it, or as it comes back from JSON.
        leaves: The tensors in order.

    Returns:
        The record.

    Examples:
        >>> rebuild({'list': [0, {'tuple': [1]}]}, [torch.zeros(1), torch.ones(1)])
        [tensor([0.]), (tensor([1.]),)]
    """
    if isinstance(structure, int):
        return leaves[structure]
    ((kind, parts),) = structure.items()
    if kind == 'dict':
        return {key: rebuild(part, leaves) for key, part in parts.items()}
    rebuilt = [rebuild(part, leaves) for part in parts]
    return tuple(rebuilt) if kind == 'tuple' else rebuilt


def spread(record: Any, rows: torch.Tensor, whole: int) -> Any:
    """Widen a record of some samples to the whole batch, with zeros elsewhere.

    Args:
        record: Nested tensors with k rows. Tensors without k rows stay as they are.
        rows: (k,) places of these samples in the batch.
        whole: B, the size of the batch.

    Returns:
        The same structure with tensors of B rows.

    Examples:
        >>> spread([torch.ones(2)], rows=torch.tensor([0, 3]), whole=4)
        [tensor([1., 0., 0., 1.])]
    """
    if isinstance(record, dict):
        return {key: spread(part, rows, whole) for key, part in record.items()}
    if isinstance(record, (list, tuple)):
        return type(record)(spread(part, rows, whole) for part in record)
    if not isinstance(record, torch.Tensor) or record.dim() == 0 or len(record) != len(rows):
        return record
    return record.new_zeros(whole, *record.shape[1:]).index_copy_(0, rows, record)
