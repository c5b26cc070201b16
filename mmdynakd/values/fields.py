"""The types of single fields; the reader's messages quote their descriptions."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta

MAX = sys.float_info.max

Number = Annotated[float, Meta(ge=-MAX, le=MAX, description='a number')]
OptionalNumber = Annotated[Number | None, Meta(description='a number or null')]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1, description='an integer >= 0')]
OptionalCount = Annotated[Count | None, Meta(description='an integer >= 0 or null')]
Text = Annotated[str, Meta(description='text')]
OptionalText = Annotated[str | None, Meta(description='text or null')]
LaneName = Annotated[str, Meta(description="a name without '/', '.' or 'loss'")]
Names = Annotated[tuple[str, ...], Meta(min_length=1, description='a list of different names')]
Role = Annotated[Literal['candidate', 'baseline'], Meta(description="'candidate' or 'baseline'")]
Metrics = Annotated[Mapping[str, Number], Meta(description='{metric: number}')]
Theta = Annotated[
    Mapping[str, Number | Sequence[Number]],
    Meta(description='{teacher: probability} or {teacher: [probability of each class]}'),
]
OptionalTheta = Annotated[
    Theta | None,
    Meta(description='{teacher: probability}, {teacher: [probability of each class]} or null'),
]
