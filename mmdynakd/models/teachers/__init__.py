"""The frozen teachers: the ensemble, views of it for distillers, loading, and stores of records.

How teachers are weighted does not belong here, but in ``selections/`` and ``functional/``.
"""

from .checkpoints import load_checkpoint_into
from .ensemble import TeacherEnsemble
from .records import OUTPUTS, Records
from .store import RecordStore, StoreError
from .view import TeacherView

__all__ = [
    'OUTPUTS',
    'RecordStore',
    'Records',
    'StoreError',
    'TeacherEnsemble',
    'TeacherView',
    'load_checkpoint_into',
]
