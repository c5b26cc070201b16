"""``teachers.json``: whether the teachers are what their user thinks."""

from collections.abc import Mapping

from .base import Value
from .checks import check_names
from .fields import Count, Number, OptionalCount, OptionalNumber, Text


class CheckedTeacher(Value, frozen=True, kw_only=True):
    """What was found about one teacher.

    Attributes:
        name: of the teacher.
        val: top-1 on the validation split, in per cent.
        test: top-1 on the test split, in per cent; None where test was left out.
        published: top-1 on test that the config gives, in per cent; None where it gives none.
        confidence: mean largest probability on val, in per cent.
        ece: expected calibration error on val with 15 bins, in per cent.
        parameters: numbers of the network.
        multiply_adds: of one image; None where the network cannot be traced.
        images_per_second: preprocessing and forward pass on this machine, without the loader.
        warnings: what is probably wrong with it, in words.

    Examples:
        >>> CheckedTeacher(
        ...     name='a', val=71.2, confidence=80.1, ece=9.0, images_per_second=100.0
        ... ).val
        71.2
    """

    name: Text
    val: Number
    test: OptionalNumber = None
    published: OptionalNumber = None
    confidence: Number
    ece: Number
    parameters: OptionalCount = None
    multiply_adds: OptionalCount = None
    images_per_second: Number
    warnings: tuple[str, ...] = ()


class TeacherReport(Value, frozen=True, kw_only=True):
    """What was found about the teachers of a config.

    Attributes:
        samples: images of each split that was run, ``{'val': N}`` or ``{'val': N, 'test': N}``.
        teachers: a row for each, in the order of θ.
        agreement: ``{teacher: {teacher: fraction}}`` of val on which both predict the same class.
        warnings: those of all teachers.

    Examples:
        >>> TeacherReport(samples=dict(val=10), teachers=(), agreement={}).warnings
        ()
    """

    samples: Mapping[str, Count]
    teachers: tuple[CheckedTeacher, ...]
    agreement: Mapping[str, Mapping[str, Number]]
    warnings: tuple[str, ...] = ()

    def check(self) -> None:
        """Checks that the teachers have different names.

        Raises:
            ValueError: there is no teacher, or two share a name.
        """
        check_names('teachers', [teacher.name for teacher in self.teachers])
