"""``candidates.json``: what a search found."""

from msgspec import UNSET, UnsetType

from .base import Value
from .checks import check_different, check_lane_name, check_names
from .fields import LaneName, Names, OptionalCount, OptionalNumber, Theta
from .files import read
from .theta import check_theta

AGAIN = 'run the search again, which writes the file anew, or correct it'


class Candidate(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A teacher distribution θ that competes in the second stage.

    Attributes:
        name: names a lane and a folder.
        lane: the lane that learned it; None where the search has only one.
        step: training iterations done when it was taken; None for a fixed point.
        theta: ``{teacher: probability}``; class-conditional, ``{teacher: [probability of each
            class]}``.
        entropy: of θ, in nats (the mean over the classes).
        upper_loss: mean of the last 100 upper losses before ``step``; None where there is none.
        same_as: name of the candidate that this one was merged into; absent if it competes itself.

    Examples:
        >>> Candidate(name='cat1', theta=dict(a=0.25, b=0.75), step=100).theta['a']
        0.25
    """

    name: LaneName
    lane: LaneName | None = None
    step: OptionalCount = None
    theta: Theta
    entropy: OptionalNumber = None
    upper_loss: OptionalNumber = None
    same_as: LaneName | UnsetType = UNSET


class Candidates(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The candidates of a search.

    Attributes:
        seed: of the search; None where the file does not say.
        teachers: the names over which θ is a distribution.
        candidates: those that compete, in the order in which they were taken.
        merged: those that equal an earlier one, see :attr:`Candidate.same_as`.

    Examples:
        >>> found = Candidates(
        ...     seed=0,
        ...     teachers=('a', 'b'),
        ...     candidates=(Candidate(name='cat1', theta=dict(a=0.25, b=0.75)),),
        ... )
        >>> found.check()
        >>> [candidate.name for candidate in found.candidates]
        ['cat1']
    """

    seed: OptionalCount = None
    teachers: Names
    candidates: tuple[Candidate, ...]
    merged: tuple[Candidate, ...] = ()

    def check(self) -> None:
        """Checks that names are different and can name lanes, and that each θ is over the teachers.

        Raises:
            ValueError: they are not, or there is no candidate.

        Examples:
            >>> Candidates(teachers=('a',), candidates=()).check()
            Traceback (most recent call last):
            ValueError: candidates is empty
        """
        check_names('teachers', self.teachers)
        if not self.candidates:
            raise ValueError('candidates is empty')
        for key, entries in (('candidates', self.candidates), ('merged', self.merged)):
            for number, candidate in enumerate(entries):
                _check_candidate(f'{key}[{number}]', candidate, self.teachers)
        check_different([candidate.name for candidate in (*self.candidates, *self.merged)])


def _check_candidate(place: str, candidate: Candidate, teachers: tuple[str, ...]) -> None:
    check_lane_name(f'{place}: ', 'name', candidate.name)
    for key in ('lane', 'same_as'):
        name = getattr(candidate, key)
        if name is not None and name is not UNSET:
            check_lane_name(f'{place}: ', key, name)
    try:
        check_theta(candidate.theta, teachers)
    except ValueError as error:
        raise ValueError(f'{place} ({candidate.name!r}): theta: {error}') from error


def read_candidates(path: str) -> Candidates:
    """Reads ``candidates.json`` of a search.

    Raises:
        UserError: the file is missing or is not JSON; a key is missing, unknown or has the wrong
            type; two candidates share a name; or a θ is not a distribution over the teachers. The
            message names file, entry, key and remedy.

    Examples:
        >>> read_candidates('no/candidates.json')
        Traceback (most recent call last):
        mmdynakd.errors.UserError: no/candidates.json is missing
    """
    return read(path, Candidates, AGAIN)
