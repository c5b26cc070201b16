"""From an exception to words for whoever wrote the config: the key, its place, what was meant."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, Registry

from mmdynakd.compat.tracebacks import (
    Frames,
    absent_optimizer,
    component_in_making,
    config_at_hand,
    config_line,
    registry_at_work,
)
from mmdynakd.errors import UserError, frames_of
from mmdynakd.names import nearest, suggestion

from .keys import runner_keys

UNEXPECTED = re.compile(
    r"(?:.*?(\w+)\.__init__|(?:\w+\.)*(\w+))\(\) got an unexpected keyword argument '(\w+)'"
)
MISSING = re.compile(r'.*missing \d+ required (?:positional|keyword-only) arguments?: (.*)')
ABSENT = re.compile(r'(\S+) is not in the .*registry')
SHOWN = 3  # places of a key


def explain(error: BaseException, cfg: Config | None = None) -> str:
    """What went wrong, without Python's words where they can be spared.

    Args:
        error: as it was caught.
        cfg: the config in which to look for the place; by default the first that was at hand where
            the error passed.

    Examples:
        >>> explain(UserError('there is no config file a.py'))
        'there is no config file a.py'
        >>> explain(KeyError('type'))
        "the key 'type' is missing"
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, SyntaxError):
        return _syntax(error)
    frames = list(frames_of(error))
    if cfg is None:
        cfg = config_at_hand(frames)
    return _of_component(error, frames, cfg) or _in_config(frames) + _plain(error)


def _of_component(error: BaseException, frames: Frames, cfg: Config | None) -> str | None:
    """A mistake about a component that was to be built; None for any other."""
    text = str(error.args[0]) if error.args else ''
    if isinstance(error, TypeError) and (unexpected := UNEXPECTED.match(str(error))):
        return _unexpected(unexpected, frames, cfg)
    if isinstance(error, TypeError) and (missing := MISSING.match(str(error))):
        return _missing(error, missing.group(1), frames, cfg)
    if isinstance(error, KeyError) and (absent := ABSENT.match(text)):
        return _absent(absent.group(1), registry_at_work(frames), cfg)
    optimizer = absent_optimizer(frames)
    return None if optimizer is None else _absent(optimizer, OPTIMIZERS, cfg)


def _plain(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if 'Original Traceback' in text:  # of a process that loads data
        text = text.strip().splitlines()[-1]
    if isinstance(error, KeyError) and ' ' not in text:
        return f'the key {text!r} is missing'
    if (isinstance(error, (ValueError, RuntimeError, OSError)) and text) or (
        ' ' in text and isinstance(error, KeyError)
    ):
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def _syntax(error: SyntaxError) -> str:
    if error.lineno:
        return f'{error.filename}, line {error.lineno}: {error.msg}'
    cause = error  # MMEngine raises it anew, without the line
    while cause.lineno is None and isinstance(cause.__context__, SyntaxError):
        cause = cause.__context__
    return f'{error} (line {cause.lineno})'


def _in_config(frames: Frames) -> str:
    """``FILE, line N: `` of the innermost line of a config file that was running."""
    place = config_line(frames)
    if place is None:
        return ''
    file, line = place
    return f'{file}: ' if line is None else f'{file}, line {line}: '


# --- components -----------------------------------------------------------------------------------


def _unexpected(found: re.Match[str], frames: Frames, cfg: Config | None) -> str:
    owner, function, key = found.groups()
    node, component = component_in_making(frames, key) or ({}, None)
    if component is None:  # called without a registry
        name, inside = owner or function, frames[-1][0]
        component = inside.f_globals.get(name) or getattr(inside.f_locals.get('self'), name, None)
    else:
        name = node.get('type', component)
    if not isinstance(name, str):
        name = getattr(name, '__name__', str(name))
    known = accepted(component) if callable(component) else []
    takes = f'; it takes {", ".join(known)}' if known else ''
    place = _place(cfg, key, node.get('type'))
    return f'{place}{name} takes no {key!r}{suggestion(key, known)}{takes}'


def _missing(error: TypeError, arguments: str, frames: Frames, cfg: Config | None) -> str:
    node, component = component_in_making(frames) or ({}, None)
    if component is None:
        return f'TypeError: {error}'
    name = node['type'] if isinstance(node.get('type'), str) else component.__name__
    place = _place(cfg, 'type', node.get('type'))
    return f'{place}{name} needs {arguments}; it takes {", ".join(accepted(component))}'


def _absent(name: str, registry: Registry | None, cfg: Config | None) -> str:
    known = names_in(registry) if registry else []
    scope, _, plain = name.rpartition('.')
    by_scope = [full.rpartition('.') for full in known]
    near = nearest(plain, {last for first, _, last in by_scope if first == scope}) or nearest(
        plain, {last for _, _, last in by_scope}
    )
    full = next((full for full in known if full.rpartition('.')[2] == near), near)
    meant = f' (did you mean {full!r}?)' if near else ''
    kind = f' among the {registry.name}s' if registry else ''
    return (
        f'{_place(cfg, "type", name)}there is no {name!r}{kind}{meant}; a component of your own '
        "must be imported: custom_imports=dict(imports=['your.module'])"
    )


def accepted(component: Callable[..., Any]) -> list[str]:
    """The arguments that a class or function takes by name.

    Those that ``**kwargs`` passes on to the bases of a class count too.

    Examples:
        >>> class Base:
        ...     def __init__(self, depth): ...
        >>> class Net(Base):
        ...     def __init__(self, width=1, **kwargs): ...
        >>> accepted(Net)
        ['width', 'depth']
    """
    makers = [component]
    if inspect.isclass(component):
        makers = [vars(c)['__init__'] for c in inspect.getmro(component) if '__init__' in vars(c)]
    names: list[str] = []
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):
            break
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        names += [name for name in named if name != 'self']
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return list(dict.fromkeys(names))


def names_in(registry: Registry) -> list[str]:
    """Names of a registry and of its relatives, with their scopes.

    Examples:
        >>> 'SGD' in names_in(OPTIMIZERS)
        True
    """
    top = registry
    while top.parent is not None:
        top = top.parent
    found: list[str] = []
    waiting = [top]
    while waiting:
        one = waiting.pop()
        one.import_from_location()
        found += [name if one is top else f'{one.scope}.{name}' for name in one.module_dict]
        waiting += one.children.values()
    return found


def _place(cfg: Config | None, key: str, kind: Any) -> str:
    """``model.backbone: ``, where ``key`` stands in a component of type ``kind`` (any, if None)."""
    if cfg is None:
        return ''
    read = {name: value for name, value in cfg.to_dict().items() if name in runner_keys()}
    found = [
        path
        for path, node in _nodes(read)
        if key in node and (kind is None or node.get('type') == kind)
    ]
    more = f' and {len(found) - SHOWN} more' if len(found) > SHOWN else ''
    return f'{", ".join(found[:SHOWN])}{more}: ' if found and all(found) else ''


def _nodes(node: Any, path: str = '') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dict of a config with its path, dots between keys."""
    items: Any = ()
    if isinstance(node, Mapping):
        yield path, node
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        yield from _nodes(value, f'{path}.{key}' if path else str(key))
