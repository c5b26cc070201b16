"""What a search and an evaluation write, in small."""

THETA = dict(a=0.25, b=0.75)
CANDIDATES = dict(
    seed=0,
    teachers=['a', 'b'],
    merged=[],
    candidates=[
        dict(name='cat1', lane='search', step=5, theta=THETA, entropy=0.5, upper_loss=1.5),
        dict(
            name='mine',
            lane='search',
            step=None,
            theta=dict(a=1, b=0),
            entropy=0.0,
            upper_loss=None,
        ),
    ],
)
RESULTS = dict(
    selected='cat1',
    selection='best',
    test_size=40,
    teachers=['a', 'b'],
    seed=0,
    epochs=2,
    device='CPU',
    versions=dict(torch='2'),
    note='of a later version',
    lanes=[
        dict(
            name='cat1',
            role='candidate',
            theta=THETA,
            val={'accuracy/top1': 50.0},
            test={'accuracy/top1': 40.0},
        ),
        dict(
            name='ce',
            role='baseline',
            theta=None,
            val={'accuracy/top1': 50},
            test={'accuracy/top1': 40.0},
        ),
    ],
)


def holds(found, content) -> bool:
    """Whether what was read has all that the file has, as it was, and elsewhere its defaults."""
    if isinstance(found, dict) and isinstance(content, dict):
        return content.keys() <= found.keys() and all(
            holds(value, content[key]) if key in content else value in (None, [], 0)
            for key, value in found.items()
        )
    if isinstance(found, list) and isinstance(content, list):
        return len(found) == len(content) and all(map(holds, found, content))
    return found == content and isinstance(found, bool) == isinstance(content, bool)
