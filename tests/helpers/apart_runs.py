"""What the tests of independent runs share: a search, copies of it, and comparisons."""

import json
import shutil
from pathlib import Path

import apart_parts  # noqa: F401
from runs import quick, read, same, search_config, weights

from mmdynakd.launch.run import train

FEW = ['cat1-seed0', 'cat2-seed0', 'ce-seed0']


def searched(work_dir: Path, **options) -> Path:
    """The work dir of a search and of what follows it."""
    cfg = search_config(work_dir)
    if 'evaluate' in options:
        cfg.custom_hooks[0].pop('baselines')
        cfg.log_level = 'INFO'
    cfg.custom_imports = dict(imports=['apart_parts'], allow_failed_imports=False)
    cfg.custom_hooks[0].update(options)
    cfg.custom_hooks.append(dict(type='Told'))
    cfg.experiment_name = work_dir.parent.name
    with quick():
        train(cfg)
    return work_dir


def copy_search(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in ('run.json', 'candidates.json'):
        shutil.copy(source / name, target / name)


def few(search: Path, target: Path) -> Path:
    """The search with three lanes to evaluate: cat1, cat2, ce."""
    copy_search(search, target)
    noted = read(target, 'run.json')
    hook = noted['config']['custom_hooks'][0]
    hook.update(baselines=dict(ce=hook['baselines']['ce']), single_teachers=False)
    (target / 'run.json').write_text(json.dumps(noted))
    return target


def assert_lanes_equal(search: Path, work_dir: Path, names) -> None:
    """Numbers and weights of runs are those of the lanes side by side."""
    beside = {row['name']: row for row in read(search, 'results.json')['lanes']}
    lanes = weights(search / 'evaluation' / 'epoch_2.pth')
    for name in names:
        lane, folder = name.removesuffix('-seed0'), work_dir / 'runs' / name
        (row,) = read(folder, 'results.json')['lanes']
        assert (row['val'], row['test'], row['theta']) == tuple(
            beside[lane][key] for key in ('val', 'test', 'theta')
        )
        prefix = f'lanes.{lane}.'
        alone = weights(folder / 'epoch_2.pth')
        assert same(
            {k: v for k, v in alone.items() if k.startswith(prefix)},
            {k: v for k, v in lanes.items() if k.startswith(prefix)},
        )
        assert any('.student.' in key for key in alone)


def lines(work_dir: Path, what: str) -> list[str]:
    path = work_dir / what
    return path.read_text().split() if path.exists() else []
