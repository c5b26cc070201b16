"""The frozen teachers: the ensemble, the views through which distillers read it, and loading."""
from .ensemble import TeacherEnsemble
from .loading import load_checkpoint_into
from .view import TeacherView

__all__ = ['TeacherEnsemble', 'TeacherView', 'load_checkpoint_into']
