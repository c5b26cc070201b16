"""The ensemble's records behind the interface of MMRazor's ``RecorderManager``."""

from typing import Any

from mmdynakd.functional import mix
from mmdynakd.functional.mixing import Weight

from .records import Records


class TeacherView:
    """What a distiller reads as ``teacher_recorders``: the mix of the teachers that it points at.

    Args:
        keys: ``{recorder name: {teacher: key in the ensemble's records}}``.
    """

    def __init__(self, keys: dict[str, dict[str, str]]) -> None:
        self.recorders = {
            name: MixedRecorder(name, by_teacher) for name, by_teacher in keys.items()
        }

    def point(self, records: Records, weights: dict[str, Weight]) -> None:
        for recorder in self.recorders.values():
            recorder.records, recorder.weights = records, weights

    def get_recorder(self, name: str) -> 'MixedRecorder':
        return self.recorders[name]


class MixedRecorder:
    """One recorder of the view; reads like MMRazor's ``BaseRecorder``."""

    def __init__(self, name: str, keys: dict[str, str]) -> None:
        self.name, self.keys = name, keys
        self.records: Records = {}
        self.weights: dict[str, Weight] = {}

    def get_record_data(self, record_idx: int = 0, data_idx: int | None = None) -> Any:
        """Σ_i w_i r_i over the teachers pointed at, r_i being entry ``data_idx`` of record
        ``record_idx``.
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
