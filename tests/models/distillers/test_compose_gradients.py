"""θ's gradient through mixed outputs is right for all of MMRazor's losses but those listed."""

import copy
import importlib

import pytest
import torch
from mmpretrain.structures import DataSample
from toys import dynakd_cfg

from mmdynakd.models.distillers.checks import DETACHING, NOT_BY_OUTPUTS, NOT_COMPOSING
from mmdynakd.registry import MODELS

STEP = 1e-6


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def names(package: str) -> set[str]:
    return set(importlib.import_module(f'mmrazor.models.{package}').__all__)


LOGITS, MAPS, LABELS = (4, 5), (3, 4, 3, 3), torch.tensor([0, 1, 2, 3])
WITH_LABELS = ('DKDLoss', 'WSLD')
ON_MAPS = ('ABLoss', 'ATLoss', 'ChannelWiseDivergence', 'FTLoss', 'MGDLoss', 'OFDLoss', 'PKDLoss')
OPTIONS = dict(
    KLDivergence=dict(teacher_detach=False),
    DISTLoss=dict(teacher_detach=False),
    WSLD=dict(num_classes=5),
    DKDLoss=dict(reduction='batchmean'),
    CRDLoss=dict(neg_num=3, sample_n=10, dim_out=5),
)
LOSSES = sorted(names('losses') - set(NOT_COMPOSING))


def build(kind: str, **options):
    torch.manual_seed(0)
    return MODELS.build(dict(type=f'mmrazor.{kind}', **options)).double()


def compared(kind: str):
    """A teacher's record, and the loss as a function of it."""
    loss = build(kind, **OPTIONS.get(kind, {}))
    if kind == 'FBKDLoss':
        own = build('FBKDStudentConnector', in_channels=8)(normal(2, 8, 4, 4))
        connector = build('FBKDTeacherConnector', in_channels=8)
        return normal(2, 8, 4, 4, seed=1), lambda teacher: loss(own, connector(teacher))
    if kind == 'CRDLoss':
        return normal(*LOGITS, seed=1), contrast(loss, normal(*LOGITS))
    shape = MAPS if kind in ON_MAPS else LOGITS
    more = (LABELS,) if kind in WITH_LABELS else ()
    return 2 * normal(*shape, seed=1), lambda teacher: loss(2 * normal(*shape), teacher, *more)


def contrast(loss, student):
    samples = []
    for i in range(len(student)):
        samples.append(DataSample())
        samples[-1].set_data(
            dict(sample_idx=torch.tensor(i), contrast_sample_idxs=torch.tensor([i, 6, 7, 8]))
        )
    loss(student, student, samples)  # sets the normalisation
    state = copy.deepcopy(loss.state_dict())

    def of(teacher):
        loss.load_state_dict(state)  # the bank takes the features up
        return loss(student, teacher, samples)

    return of


def is_right(teacher: torch.Tensor, loss) -> bool:
    """Whether autograd has a gradient by the teacher that equals central differences."""
    teacher = teacher.requires_grad_()
    value = loss(teacher)
    gradient = (
        torch.autograd.grad(value, teacher, allow_unused=True)[0] if value.requires_grad else None
    )
    if gradient is None or not gradient.isfinite().all() or not gradient.any():
        return False
    for seed in (2, 3, 4):
        direction = normal(*teacher.shape, seed=seed)
        with torch.no_grad():
            numeric = (loss(teacher + STEP * direction) - loss(teacher - STEP * direction)) / (
                2 * STEP
            )
        if not torch.allclose(
            (gradient * direction).sum(), numeric, rtol=1e-5, atol=1e-6 * float(gradient.norm())
        ):
            return False
    return True


@pytest.mark.parametrize('kind', LOSSES)
def test_losses_without_the_right_gradient_are_those_listed(kind):
    assert is_right(*compared(kind)) == (kind not in NOT_BY_OUTPUTS)


CONNECTORS = dict(
    ConvModuleConnector=dict(in_channel=4, out_channel=6),
    Translator=dict(in_channel=4, out_channel=2),
    Paraphraser=dict(phase='train', in_channel=4, out_channel=2),
    CRDConnector=dict(dim_in=4),
    TorchFunctionalConnector=dict(function_name='relu'),
    TorchNNConnector=dict(module_name='AvgPool2d', module_args=dict(kernel_size=2)),
    OFDTeacherConnector={},
    MGDConnector=dict(student_channels=4, teacher_channels=4),
    NormConnector=dict(in_channels=4, norm_cfg=dict(type='BN')),
    FBKDTeacherConnector=dict(in_channels=4),
    FBKDStudentConnector=dict(in_channels=4),
)


def test_every_connector_is_looked_at():
    assert set(CONNECTORS) == names('architectures.connectors') - {
        'BYOTConnector'
    }  # BYOT does not compose
    assert set(DETACHING) < set(CONNECTORS)


@pytest.mark.parametrize('kind', CONNECTORS)
def test_connectors_that_detach_are_those_listed(kind):
    connector = build(kind, **CONNECTORS[kind]).eval()
    if kind == 'OFDTeacherConnector':
        connector.init_margin(torch.full((1, 4, 1, 1), -0.5, dtype=torch.float64))
    feature = normal(3, 4, *(() if kind == 'CRDConnector' else (4, 4))).requires_grad_()
    out = connector(feature)
    reaches = any(part.requires_grad for part in (out if isinstance(out, tuple) else (out,)))
    assert reaches == (kind not in DETACHING)


def with_loss(kind: str, connector: dict | list | None = None, **options) -> dict:
    """A search whose distiller adds the loss to KD, which alone would hide what the loss lacks."""
    cfg = dynakd_cfg(**options)
    distiller = cfg['distiller']
    distiller['distill_losses']['loss_more'] = dict(type=kind)
    teacher = dict(from_student=False, recorder='logits')
    if connector:
        distiller['connectors'], teacher['connector'] = dict(of_teacher=connector), 'of_teacher'
    distiller['loss_forward_mappings']['loss_more'] = dict(
        s_feature=dict(from_student=True, recorder='logits'), t_feature=teacher
    )
    return cfg


@pytest.mark.parametrize(('kind', 'reason'), [('ABLoss', 'signs'), ('FBKDLoss', 'masks detach')])
def test_a_loss_without_it_is_an_error(kind, reason):
    with pytest.raises(ValueError, match=rf"loss_more \({kind}\): .*{reason}.*set mix='losses'"):
        MODELS.build(with_loss(kind))


@pytest.mark.parametrize('chain', [False, True])
@pytest.mark.parametrize(
    'connector',
    [
        dict(type='OFDTeacherConnector'),
        dict(type='Paraphraser', phase='train', in_channel=4, out_channel=2),
    ],
)
def test_a_connector_that_detaches_is_an_error(connector, chain):
    cfg = with_loss('L2Loss', [connector] if chain else connector)
    with pytest.raises(
        ValueError, match=rf'connectors.of_teacher \({connector["type"]}\) detaches the teacher'
    ):
        MODELS.build(cfg)
    MODELS.build(dict(cfg, mix='losses'))
    MODELS.build(dict(cfg, selection=dict(probs='uniform')))  # no θ is searched
