"""From an exception of a run to words for who wrote the config: the key, its place, and what was
meant.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, Registry

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
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, SyntaxError):
        return _syntax(error)
    frames = list(frames_of(error))
    if cfg is None:
        cfg = next(
            (f.f_locals['cfg'] for f, _ in frames if isinstance(f.f_locals.get('cfg'), Config)),
            None,
        )
    if isinstance(error, TypeError) and UNEXPECTED.match(str(error)):
        return _unexpected(error, frames, cfg)
    if isinstance(error, TypeError) and MISSING.match(str(error)):
        return _missing(error, frames, cfg)
    if isinstance(error, KeyError) and error.args and ABSENT.match(str(error.args[0])):
        registries = [
            f.f_locals['registry']
            for f, _ in frames
            if isinstance(f.f_locals.get('registry'), Registry)
        ]
        return _absent(
            ABSENT.match(str(error.args[0])).group(1), registries[-1] if registries else None, cfg
        )
    for (
        frame,
        _,
    ) in frames:  # MMEngine looks an optimizer up by itself, and does not look whether it is there
        if 'optimizer_cls' in frame.f_locals and frame.f_locals['optimizer_cls'] is None:
            return _absent(frame.f_locals['optimizer_cfg']['type'], OPTIMIZERS, cfg)
    return _in_config(frames) + _plain(error)


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
    cause = error
    while cause.lineno is None and isinstance(cause.__context__, SyntaxError):
        cause = cause.__context__
    text = str(error.msg if error.lineno else error)
    return (
        f'{error.filename}, line {error.lineno}: {text}'
        if error.lineno
        else f'{text} (line {cause.lineno})'
    )


def _in_config(frames: list) -> str:
    """``FILE, line N: `` of the innermost line of a config file that was running."""
    running = [(frame, line) for frame, line in frames if frame.f_code.co_name == '_file2dict']
    if not running:
        return ''
    deeper = frames[frames.index(running[-1]) + 1 :]
    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in deeper
        if frame.f_code.co_name == '<module>'
    ]
    filename = running[-1][0].f_locals.get('filename')
    return f'{lines[-1][0]}, line {lines[-1][1]}: ' if lines else f'{filename}: '


# --- components -----------------------------------------------------------------------------------


def _unexpected(error: TypeError, frames: list, cfg: Config | None) -> str:
    owner, function, key = UNEXPECTED.match(str(error)).groups()
    node, component = _built(frames, key) or ({}, None)
    if component is None:  # called without a registry
        name, inside = owner or function, frames[-1][0]
        component = inside.f_globals.get(name) or getattr(inside.f_locals.get('self'), name, None)
    else:
        name = node.get('type', component)
    name = name if isinstance(name, str) else getattr(name, '__name__', str(name))
    known = accepted(component) if callable(component) else []
    takes = f'; it takes {", ".join(known)}' if known else ''
    return f'{_place(cfg, key, node.get("type"))}{name} takes no {key!r}{suggestion(key, known)}{takes}'


def _missing(error: TypeError, frames: list, cfg: Config | None) -> str:
    node, component = _built(frames, None) or ({}, None)
    if component is None:
        return f'TypeError: {error}'
    name = node['type'] if isinstance(node.get('type'), str) else component.__name__
    return (
        f'{_place(cfg, "type", node.get("type"))}{name} needs '
        f'{MISSING.match(str(error)).group(1)}; it takes '
        f'{", ".join(accepted(component))}'
    )


def _absent(name: str, registry: Registry | None, cfg: Config | None) -> str:
    known = names_in(registry) if registry else []
    scope, _, plain = name.rpartition('.')
    near = nearest(
        plain, {full.rpartition('.')[2] for full in known if full.rpartition('.')[0] == scope}
    ) or nearest(plain, {full.rpartition('.')[2] for full in known})
    full = next((full for full in known if full.rpartition('.')[2] == near), near)
    meant = f' (did you mean {full!r}?)' if near else ''
    kind = f' among the {registry.name}s' if registry else ''
    return (
        f'{_place(cfg, "type", name)}there is no {name!r}{kind}{meant}; a component of your own '
        'must be imported: '
        "custom_imports=dict(imports=['your.module'])"
    )


def _built(frames: list, key: str | None) -> tuple[Mapping, Any] | None:
    """Config and class of the innermost component in the making that was given ``key``."""
    for frame, _ in reversed(frames):
        inside = frame.f_locals
        if (
            frame.f_code.co_name == 'build_from_cfg'
            and 'obj_cls' in inside
            and (key is None or key in inside['args'])
        ):
            return inside['cfg'], inside['obj_cls']
    return None


def accepted(component: Any) -> list[str]:
    """The arguments that a class or function takes by name, those that ``**kwargs`` passes on to
    its bases too.
    """
    makers = (
        [c.__init__ for c in inspect.getmro(component) if '__init__' in vars(c)]
        if inspect.isclass(component)
        else [component]
    )
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
    """Names of a registry and of its relatives, with their scopes."""
    top = registry
    while top.parent is not None:
        top = top.parent
    found, waiting = [], [top]
    while waiting:
        one = waiting.pop()
        one.import_from_location()
        found += [name if one is top else f'{one.scope}.{name}' for name in one._module_dict]
        waiting += one.children.values()
    return found


def _place(cfg: Config | None, key: str, kind: Any) -> str:
    """``model.backbone: ``, where in the config ``key`` stands in a component of type ``kind`` (of
    any, if None).
    """
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


def _nodes(node: Any, path: str = '') -> Iterator[tuple[str, Mapping]]:
    """Every dict of a config with its path, dots between keys."""
    if isinstance(node, Mapping):
        yield path, node
    items = (
        node.items()
        if isinstance(node, Mapping)
        else enumerate(node)
        if isinstance(node, (list, tuple))
        else ()
    )
    for key, value in items:
        yield from _nodes(value, f'{path}.{key}' if path else str(key))
