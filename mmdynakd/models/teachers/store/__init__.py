"""What teachers record of a view, kept for later epochs, lanes and runs: in files or in memory."""

from .shelves import StoreError
from .store import RecordStore, teacher_facts

__all__ = ['RecordStore', 'StoreError', 'teacher_facts']
