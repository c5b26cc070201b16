"""mmdynakd.compat: what it repairs works, what it must not open stays shut."""

import importlib
import math
import pickle
import subprocess
import sys
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import pytest
import torch
from attacks import ATTACKS, train
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.structures import BaseDataElement

import mmdynakd
from mmdynakd import compat, safe_load

compat.load_mmrazor()
from mmrazor.registry import MODELS  # noqa: E402

TORCH = compat.release(torch.__version__)
teachable = pytest.mark.skipif(TORCH < (2, 4), reason='torch < 2.4 has no add_safe_globals')
ROOT = Path(mmdynakd.__file__).resolve().parents[1]


def fresh(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# --- imports --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    'before', ['', 'import mmengine, mmcv, torch; '], ids=['first', 'after mmengine']
)
def test_mmrazor_imports_in_a_fresh_interpreter_and_mmcv_keeps_its_version(before):
    done = fresh(
        before + 'import mmdynakd, mmrazor.models, mmrazor.engine, mmcv\n'
        'from importlib.metadata import version\n'
        'own = {version(name) for name in mmdynakd.compat.installed() if "mmcv" in name}\n'
        'assert own == {mmcv.__version__}, (own, mmcv.__version__)\n'
        'print("MODELS:", len(mmrazor.models.losses.__all__))'
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == 'MODELS: 22'


OURS = (
    'import warnings\n'
    "warnings.filterwarnings('error', category=DeprecationWarning, module=r'mmdynakd(\\.|$)')\n"
)


@pytest.mark.parametrize(
    'module', ['mmdynakd', pytest.param('mmdynakd.models', marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    'before',
    ['', pytest.param(OURS, marks=pytest.mark.slow)],
    ids=['as installed', 'our warnings are errors'],
)
def test_an_import_says_nothing(module, before):
    done = fresh(f'{before}import {module}')
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ''


def test_importing_the_package_alone_imports_nothing_heavy():
    done = fresh(
        'import sys, mmdynakd\n'
        'heavy = {"torch", "numpy", "mmcv", "mmengine", "mmrazor", "mmpretrain"}\n'
        'assert heavy.isdisjoint(sys.modules), heavy & set(sys.modules)'
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize('order', ['mmdynakd, mmengine.runner', 'mmengine.runner, mmdynakd'])
def test_mmengine_loads_guarded_whatever_was_imported_first(order):
    done = fresh(
        f'import {order}\n'
        'from mmengine.runner.checkpoint import CheckpointLoader\n'
        'loaders = CheckpointLoader._schemes.values()\n'
        'assert loaders and all(loader.guarded for loader in loaders)'
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_repair_runs_around_the_import_that_it_waits_for(tmp_path, monkeypatch):
    @contextmanager
    def repair():
        said.append('before')
        yield
        said.append(sys.modules['awaited'].value)

    said = []
    (tmp_path / 'awaited.py').write_text('value = 3')
    monkeypatch.syspath_prepend(tmp_path)
    compat.when_imported('awaited', repair)
    assert said == []
    module = importlib.import_module('awaited')
    assert said == ['before', 3]
    assert isinstance(module.__loader__, SourceFileLoader)
    assert isinstance(module.__spec__.loader, SourceFileLoader)
    del sys.modules['awaited']
    importlib.import_module('awaited')
    assert said == ['before', 3] * 2
    importlib.reload(sys.modules['awaited'])
    assert said == ['before', 3] * 3


@pytest.mark.slow
@pytest.mark.skipif(TORCH < (2, 0), reason='the true module works on torch 1.13')
def test_pickle_finds_names_of_torch_before_it_meets_the_stand_in():
    done = fresh(
        'import sys, mmdynakd.models\n'
        'names = list(sys.modules)\n'
        f'assert names.index("torch._ops") < names.index("{compat.QUANTIZATION}")'
    )
    assert done.returncode == 0, done.stderr


def test_what_mmengine_asks_of_pkg_resources_is_no_warning():
    done = fresh('import mmdynakd\nfrom mmengine.utils import is_installed\nis_installed("torch")')
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.skipif(TORCH < (2, 0), reason='the true module works on torch 1.13')
def test_quantization_stand_in_refuses_every_use_and_says_why():
    from mmrazor.structures.quantization import BackendConfigs, QConfigHandler

    module = sys.modules[compat.QUANTIZATION]
    uses = [
        lambda: QConfigHandler({}),
        lambda: QConfigHandler.replace_fakequant,
        lambda: BackendConfigs['x'],
        lambda: isinstance(1, QConfigHandler),
        lambda: module.Anything,
        lambda: exec('class Mine(H): pass', {'H': QConfigHandler}),
        lambda: exec(f'from {compat.QUANTIZATION} import Anything'),
    ]
    for use in uses:
        with pytest.raises(
            ImportError, match=r'only torch 1\.13 has .*issues/615.*environment with torch 1\.13'
        ):
            use()
    # Tools probe every module like this: it must stay a plain "no".
    assert not hasattr(module, '__warningregistry__')
    assert not hasattr(QConfigHandler, '__wrapped__')


def test_install_twice_changes_nothing():
    def state():
        trusted = set(torch.serialization.get_safe_globals()) if TORCH >= (2, 4) else set()
        return {name: id(module) for name, module in sys.modules.items()}, trusted

    before = state()
    compat.install()
    assert state() == before


@pytest.mark.parametrize(
    ('true', 'seen'),
    [('2.3.6', '2.1.0'), ('2.2.0', '2.1.0'), ('2.1.0', '2.1.0'), ('2.0.1', '2.0.1')],
)
@pytest.mark.parametrize('failing', [False, True], ids=['imports', 'import fails'])
def test_mmcv_reads_2_1_0_only_while_mmrazor_is_imported(monkeypatch, true, seen, failing):
    import mmcv

    read = []

    def importing(loader, module):
        read.append((module.__name__, mmcv.__version__))
        if failing:
            raise RuntimeError('import broke')

    monkeypatch.setattr(mmcv, '__version__', true)
    monkeypatch.setattr(SourceFileLoader, 'exec_module', importing)
    monkeypatch.delitem(sys.modules, 'mmrazor')
    compat.install()
    if failing:
        with pytest.raises(RuntimeError, match='import broke'):
            importlib.import_module('mmrazor')
    else:
        importlib.import_module('mmrazor')
    assert read == [('mmrazor', seen)]
    assert mmcv.__version__ == true


LAB, DL = (
    {'mmengine', 'mmcv-lite', 'mmpretrain'},
    {'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain'},
)


@pytest.mark.parametrize(
    ('installed', 'flavour'),
    [(LAB, 'openmmlab'), ({'mmengine', 'mmcv', 'mmpretrain'}, 'openmmlab'), (DL, 'onedl')],
)
def test_flavour(installed, flavour):
    assert compat.check_flavour(installed) == flavour


@pytest.mark.parametrize(
    ('installed', 'words'),
    [
        (
            LAB | DL,
            [
                f'pip uninstall -y {" ".join(sorted(LAB | DL))}\n',
                'install "mmdynakd[openmmlab]"',
                '[onedl]"',
            ],
        ),
        (LAB | {'mmcv'}, ['pip uninstall -y mmcv mmcv-lite mmengine mmpretrain\n']),
        (LAB | {'onedl-mmcv'}, ['pip uninstall -y mmcv-lite mmengine mmpretrain onedl-mmcv\n']),
        ({'mmengine', 'onedl-mmpretrain'}, ['pip uninstall -y mmengine onedl-mmpretrain\n']),
        (
            set(),
            [
                'needs mmengine, mmcv, mmpretrain,',
                'pip install "mmdynakd[openmmlab]"',
                '"mmdynakd[onedl]"',
            ],
        ),
        ({'mmengine', 'mmpretrain'}, ['needs mmcv,', 'pip install "mmdynakd[openmmlab]"']),
        ({'onedl-mmengine', 'onedl-mmcv'}, ['needs mmpretrain,', 'pip install "mmdynakd[onedl]"']),
    ],
)
def test_missing_or_mixed_flavours_are_one_error_with_the_command(installed, words):
    with pytest.raises(ImportError) as error:
        compat.check_flavour(installed)
    assert [word for word in words if word not in str(error.value)] == []


# --- MMRazor's losses -----------------------------------------------------------------------------


def logits():
    return torch.randn(4, 5)


def maps():
    return torch.randn(4, 3, 6, 6)


LABELS = torch.tensor([0, 1, 2, 4])
# type, arguments, input, further forward arguments, value where the student equals the teacher
# (None: no claim)
PAIRED = [
    ('KLDivergence', dict(tau=2.0), logits, (), 0),
    ('KDSoftCELoss', dict(tau=2.0), logits, (), None),
    ('CrossEntropyLoss', dict(), logits, (), None),
    ('DKDLoss', dict(), logits, (LABELS,), 0),
    ('WSLD', dict(num_classes=5), logits, (LABELS,), None),
    ('DISTLoss', dict(), logits, (), 0),
    ('L1Loss', dict(), maps, (), 0),
    ('L2Loss', dict(), maps, (), 0),
    ('ABLoss', dict(), maps, (), None),
    ('ATLoss', dict(), maps, (), 0),
    ('ChannelWiseDivergence', dict(), maps, (), 0),
    ('FTLoss', dict(), maps, (), 0),
    ('MGDLoss', dict(), maps, (), 0),
    ('OFDLoss', dict(), maps, (), 0),
    ('PKDLoss', dict(), maps, (), 0),
    ('DistanceWiseRKD', dict(), logits, (), 0),
    ('AngleWiseRKD', dict(), logits, (), 0),
]
# those of one input: the teacher's, in data-free distillation
SINGLE = [('OnehotLikeLoss', logits), ('InformationEntropyLoss', logits), ('ActivationLoss', maps)]


def check_gradient(loss, *leaves):
    assert loss.numel() == 1
    assert bool(torch.isfinite(loss).all())
    loss.sum().backward()
    for leaf in leaves:
        assert bool(torch.isfinite(leaf.grad).all())
        assert float(leaf.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    ('name', 'kwargs', 'make', 'extra', 'equal'), PAIRED, ids=[row[0] for row in PAIRED]
)
def test_loss_of_student_and_teacher(name, kwargs, make, extra, equal):
    torch.manual_seed(0)
    loss, student, teacher = (
        MODELS.build(dict(type=name, **kwargs)),
        make().requires_grad_(),
        make(),
    )
    check_gradient(loss(student, teacher, *extra), student)
    if equal is not None:
        assert float(loss(teacher.clone(), teacher, *extra)) == pytest.approx(equal, abs=1e-5)


@pytest.mark.parametrize(('name', 'make'), SINGLE, ids=[row[0] for row in SINGLE])
def test_loss_of_the_teacher_alone_needs_no_process_group(name, make):
    torch.manual_seed(0)
    outputs = make().requires_grad_()
    check_gradient(MODELS.build(dict(type=name))(outputs), outputs)


def test_crd_loss():
    torch.manual_seed(0)
    loss = MODELS.build(dict(type='CRDLoss', neg_num=3, sample_n=10, dim_out=6))
    samples = [BaseDataElement(metainfo=dict()) for _ in range(4)]
    for index, sample in enumerate(samples):
        sample.set_data(dict(sample_idx=torch.tensor(index)))
    student = torch.randn(4, 6).requires_grad_()
    check_gradient(loss(student, torch.randn(4, 6), samples), student)


def test_fbkd_loss():
    torch.manual_seed(0)
    shapes = [(4, 1, 6, 6), (4, 3, 1, 1), (4, 3), (4, 1, 6, 6), (4, 3, 6, 6), (4, 3, 6, 6)]
    student = [torch.randn(shape).requires_grad_() for shape in shapes]
    teacher = [torch.randn(shape) for shape in shapes[:2] + shapes[3:]]
    # The two masks (first) are detached by the loss itself.
    check_gradient(MODELS.build(dict(type='FBKDLoss'))(student, teacher), *student[2:])


def test_tables_above_leave_no_loss_of_mmrazor_out():
    import mmrazor.models.losses as losses

    assert {row[0] for row in PAIRED + SINGLE} | {'CRDLoss', 'FBKDLoss'} == set(losses.__all__)


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_soft_cross_entropy_loss_is_the_plain_loop(reduction):
    torch.manual_seed(0)
    student, teacher, tau = logits().double(), logits().double(), 3.0
    rows = []
    for s, t in zip(student.tolist(), teacher.tolist()):
        zs, zt = sum(math.exp(x / tau) for x in s), sum(math.exp(x / tau) for x in t)
        rows.append(
            -sum(math.exp(b / tau) / zt * math.log(math.exp(a / tau) / zs) for a, b in zip(s, t))
            * tau**2
        )
    expected = {'mean': sum(rows) / len(rows), 'sum': sum(rows), 'none': rows}[reduction]
    value = MODELS.build(dict(type='KDSoftCELoss', tau=tau, reduction=reduction))(student, teacher)
    assert value.tolist() == pytest.approx(expected, rel=1e-12)


# --- checkpoints ----------------------------------------------------------------------------------


def test_runner_resumes_with_its_history_and_weights_only_stays_on(tmp_path, monkeypatch):
    first = train(tmp_path, 1, 'first')
    asked, true_load = [], torch.load

    def spy(*args, **kwargs):
        asked.append(
            kwargs.get('weights_only') or kwargs.get('pickle_module') is safe_load.RESTRICTED
        )
        return true_load(*args, **kwargs)

    monkeypatch.setattr(torch, 'load', spy)
    second = train(tmp_path, 2, 'second', resume=True)
    assert asked
    assert False not in asked
    assert (second.epoch, second.iter) == (2, 4)
    history = [r.message_hub.get_scalar('train/loss').data[0].tolist() for r in (first, second)]
    assert len(history[1]) == 4
    assert history[1][:2] == history[0]


@teachable
def test_checkpoint_with_history_loads_weights_only(tmp_path):
    train(tmp_path, 1, 'only')
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', map_location='cpu', weights_only=True)
    scalars = checkpoint['message_hub']['log_scalars']
    assert isinstance(scalars['train/loss'], HistoryBuffer)
    assert len(scalars['train/loss'].data[0]) == 2
    assert scalars['train/loss'].statistics('mean') == pytest.approx(
        scalars['train/loss'].data[0].mean()
    )


@teachable
@pytest.mark.parametrize(
    'values',
    [
        np.arange(3),
        np.array([1.5]),
        np.array([True]),
        np.array(['a', 'bc']),
        np.float32(2.5),
        np.int64(7),
    ],
    ids=lambda v: f'{v.dtype}{list(v.shape)}',
)
@pytest.mark.parametrize('spelling', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_numpy_values_of_both_major_versions_load(tmp_path, values, spelling):
    if TORCH < (2, 6) and spelling.decode() != np.ones(1).__reduce__()[0].__module__:
        pytest.skip('torch < 2.6 knows a global by its own name only')
    file = tmp_path / 'a.pth'
    torch.save(values, file, _use_new_zipfile_serialization=False)
    own = np.ones(1).__reduce__()[0].__module__.encode()
    file.write_bytes(file.read_bytes().replace(b'c' + own + b'\n', b'c' + spelling + b'\n'))
    assert b'c' + spelling + b'\n' in file.read_bytes()
    loaded = torch.load(file, weights_only=True)
    assert loaded.dtype == values.dtype
    assert loaded.tolist() == values.tolist()


@pytest.mark.parametrize('attack', ATTACKS.values(), ids=ATTACKS.keys())
def test_malicious_checkpoint_is_still_refused(tmp_path, attack):
    mark, file = tmp_path / 'executed', tmp_path / 'evil.pth'
    torch.save({'state_dict': {}, 'x': attack(mark)}, file)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)
    assert not mark.exists()


@teachable
def test_the_state_of_a_one_cycle_schedule_loads_weights_only(tmp_path):
    """It pickles its annealing function as getattr(OneCycleParamScheduler, name)."""
    from mmengine.optim import OneCycleLR

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    state = OneCycleLR(optimizer, eta_max=0.1, total_steps=10).state_dict()
    torch.save(state, tmp_path / 'schedule.pth')
    loaded = torch.load(tmp_path / 'schedule.pth', weights_only=True)
    assert loaded == state
    assert loaded['anneal_func'](0.0, 1.0, 0.5) == pytest.approx(0.5)
