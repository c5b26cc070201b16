"""The ensemble's records behind the interface of MMRazor's ``RecorderManager``."""

from collections.abc import Mapping
from typing import Any

from mmdynakd.functional import mix
from mmdynakd.functional.mixing import Weight

from .records import Records


class TeacherView:
    """What a distiller reads as ``teacher_recorders``: a mix of the teachers that it points at.

    Args:
        keys: ``{recorder name: {teacher: key in the ensemble's records}}``.

    Examples:
        >>> import torch
        >>> records = {'a': {'key': [torch.zeros(2)]}, 'b': {'key': [torch.ones(2)]}}
        >>> view = TeacherView({'logits': {'a': 'key', 'b': 'key'}})
        >>> view.point(records, {'a': 0.25, 'b': 0.75})
        >>> view.get_recorder('logits').get_record_data()
        tensor([0.7500, 0.7500])
    """

    def __init__(self, keys: Mapping[str, Mapping[str, str]]) -> None:
        self.recorders = {
            name: MixedRecorder(name, by_teacher) for name, by_teacher in keys.items()
        }

    def point(self, records: Records, weights: Mapping[str, Weight]) -> None:
        """Let all recorders read ``records``, mixed by ``weights``.

        Args:
            records: What the ensemble recorded.
            weights: ``{teacher: weight}``, see :func:`mix`.
        """
        for recorder in self.recorders.values():
            recorder.records, recorder.weights = records, weights

    def get_recorder(self, name: str) -> 'MixedRecorder':
        """Return the recorder of this name."""
        return self.recorders[name]


class MixedRecorder:
    """One recorder of the view; it reads like MMRazor's ``BaseRecorder``.

    Args:
        name: Its name in the distiller's config.
        keys: ``{teacher: key in the ensemble's records}``.

    Examples:
        >>> recorder = MixedRecorder('stages', {'a': 'key'})
        >>> recorder.records, recorder.weights = {'a': {'key': [(10, 20)]}}, {'a': 1.0}
        >>> recorder.get_record_data(record_idx=0, data_idx=1)
        20
    """

    def __init__(self, name: str, keys: Mapping[str, str]) -> None:
        self.name, self.keys = name, keys
        self.records: Records = {}
        self.weights: Mapping[str, Weight] = {}

    def get_record_data(self, record_idx: int = 0, data_idx: int | None = None) -> Any:
        """Return Σ_i w_i r_i over the teachers pointed at.

        Args:
            record_idx: Which call of the recorded source in the forward pass.
            data_idx: Which entry of that record; None takes the record itself.

        Raises:
            IndexError: If a teacher has no such record or entry.
        """
        picked = [self._pick(teacher, record_idx, data_idx) for teacher in self.weights]
        return mix(picked, list(self.weights.values()))

    def _pick(self, teacher: str, record_idx: int, data_idx: int | None) -> Any:
        buffer = self.records[teacher][self.keys[teacher]]
        if record_idx >= len(buffer):
            raise IndexError(
                f"recorder '{self.name}' holds {len(buffer)} record(s) of teacher '{teacher}', "
                f'record_idx={record_idx} is out of range (is its source run in the forward pass?)'
            )
        record = buffer[record_idx]
        if data_idx is None:
            return record
        if not isinstance(record, (list, tuple)) or data_idx >= len(record):
            raise IndexError(
                f"recorder '{self.name}' of teacher '{teacher}': record {type(record).__name__} "
                f'has no entry data_idx={data_idx}'
            )
        return record[data_idx]
