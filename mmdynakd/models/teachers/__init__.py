"""The frozen teachers: the ensemble, the views through which distillers read it, and loading."""

from .ensemble import TeacherEnsemble
from .loading import load_checkpoint_into
from .records import OUTPUTS, Records
from .shelves import StoreError
from .store import RecordStore
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
