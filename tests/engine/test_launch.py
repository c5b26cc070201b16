"""What the command-line tools do to a config before the Runner sees it."""
import pytest
from mmengine.config import Config
from toys import built, dynakd_cfg

from mmdynakd.engine.launch import keep_teacher_order

NAMES = ['strong', 'middle', 'weak']


def test_the_order_of_the_teachers_outlives_a_dumped_config(tmp_path):
    teachers = dict(zip(NAMES, dynakd_cfg(3)['teachers'].values()))
    cfg = Config(dict(model={**dynakd_cfg(3), 'teachers': teachers}))
    keep_teacher_order(cfg)
    cfg.dump(tmp_path / 'dumped.py')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert list(again.model.teachers) == sorted(NAMES) != NAMES  # what MMEngine does to mappings
    assert built(again.model).ensemble.names == NAMES


def test_a_teacher_order_that_misses_one_is_an_error():
    with pytest.raises(ValueError, match='teacher_order must name each of the teachers'):
        built({**dynakd_cfg(3), 'teacher_order': ['t0', 't1']})
