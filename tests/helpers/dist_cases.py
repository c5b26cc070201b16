"""The configs that the distributed tests run: small, smooth, and nothing random but the draws."""

import dist_parts  # noqa: F401
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from runs import TEACHERS, search_config
from toys import kd_distiller_cfg

GLOBAL_BATCH = 16
SIZES = 37, 39  # samples for training and others: unequal shares of a last batch of 5, and of 7


def plain_network(channels: int, norm: bool = False) -> dict:
    return dict(
        type='ImageClassifier',
        backbone=dict(type='SmoothConv', channels=channels, norm=norm),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=10,
            in_channels=channels,
            init_cfg=dict(type='Normal', layer='Linear', std=0.5),
        ),
    )


def teacher_file(folder, name: str, seed: int) -> str:
    """A checkpoint of ``plain_network(12)``, the same for every run in ``folder``."""
    path = folder / f'plain_{name}.pth'
    if not path.exists():
        torch.manual_seed(seed)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(plain_network(12))
        model.init_weights()
        torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def dist_config(folder, work, processes: int, train: int = 64, others: int = 48):
    """Both stages on ``train`` and ``others`` images, in global batches of 16, nothing padded."""
    cfg = search_config(work)
    cfg.custom_imports = dict(imports=['dist_parts'], allow_failed_imports=False)
    cfg.model.architecture = plain_network(8)
    cfg.model.teacher_order = list(TEACHERS)  # as launch.load_config does
    for seed, name in enumerate(TEACHERS):
        cfg.model.teachers[name].model = plain_network(12)
        cfg.model.teachers[name].checkpoint = teacher_file(folder, name, seed)
    upper, val, test = cfg.train_cfg.upper_dataloader, cfg.val_dataloader, cfg.test_dataloader
    for loader in (cfg.train_dataloader, upper, val, test):
        loader.batch_size = GLOBAL_BATCH // processes
        loader.sampler.round_up = False
        loader.dataset.update(
            indices=train if loader is cfg.train_dataloader else others,
            pipeline=[dict(type='PackInputs', meta_keys=('sample_idx',))],
        )
    cfg.custom_hooks[0].pop('baselines')
    cfg.custom_hooks[0].update(single_teachers=False)
    cfg.custom_hooks.append(dict(type='RankWitness'))
    return cfg


KL = 'model.distiller.distill_losses.loss_kl.'
UNROLLED = {'model.upper_objective': 'unrolled'}
BY_SAMPLE = {KL + 'reduction': 'none'}
ACCUMULATED = {
    'optim_wrapper.student.accumulative_counts': 2,
    'optim_wrapper.theta.accumulative_counts': 2,
    'optim_wrapper.student.clip_grad': dict(max_norm=0.5),
}
SINGLE = {'model.type': 'mmdynakd.DynaKD'}
SHARED = {'model.type': 'SharedDynaKD'}
AMP = {
    'optim_wrapper.student.type': 'AmpOptimWrapper',
    'optim_wrapper.theta.type': 'AmpOptimWrapper',
}
SYNC_BN = {'model.sync_bn': True, 'model.architecture.backbone.norm': True}
MIXED_LOSSES = {'model.mix': 'losses'}


def selection(**options) -> dict:
    return {'model.selection': options}


ARRAYS = {
    'train_dataloader': dict(
        collate_fn=dict(type='mmdynakd.batch_collate'),
        sampler=dict(type='mmdynakd.ViewSampler'),
        dataset=dict(
            _delete_=True,
            type='mmdynakd.ArrayDataset',
            crop_padding=1,
            flip=0.5,
            dataset=dict(type='mmdynakd.Digits', channels=3, indices=SIZES[0]),
        ),
    )
}
BY_ITERATION = {
    'train_cfg.type': 'mmdynakd.BilevelIterTrainLoop',
    'train_cfg.max_iters': 6,
    'optim_wrapper.upper_interval': 2,
    'optim_wrapper.warmup': 1,
}


def feature_distiller() -> dict:
    """Compares feature maps behind a connector with batch norm; the drawn teacher's is trained."""
    connector = dict(
        type='ConvModuleConnector', in_channel=8, out_channel=12, norm_cfg=dict(type='BN')
    )
    return dict(
        type='ConfigurableDistiller',
        student_recorders=dict(map=dict(type='ModuleOutputs', source='backbone.body')),
        teacher_recorders=dict(map=dict(type='ModuleOutputs', source='backbone.body')),
        connectors=dict(own=connector),
        distill_losses=dict(loss_map=dict(type='L2Loss', normalize=False)),
        loss_forward_mappings=dict(
            loss_map=dict(
                s_feature=dict(from_student=True, recorder='map', connector='own'),
                t_feature=dict(from_student=False, recorder='map'),
            )
        ),
    )


VARIANTS = {  # by what they cover; last batches are unequal in all
    'the paper': {},
    'unrolled': UNROLLED,
    'losses': {
        **MIXED_LOSSES,
        **selection(weight_by_probability='normalized', entropy_weight=0.01),
    },
    'unrolled, losses, gumbel': {
        **UNROLLED,
        **MIXED_LOSSES,
        **selection(gumbel_temperature=1.0, temperature=2.0),
    },
    'a sample each, gumbel': {
        **BY_SAMPLE,
        **selection(granularity='sample', gumbel_temperature=1.0),
    },
    'unrolled, a sample each': {
        **UNROLLED,
        **BY_SAMPLE,
        **selection(granularity='sample', entropy_weight=0.01),
    },
    'by class, losses': {**BY_SAMPLE, **MIXED_LOSSES, **selection(num_classes=10)},
    'unrolled, by class, gumbel': {
        **UNROLLED,
        **BY_SAMPLE,
        **selection(num_classes=10, gumbel_temperature=0.5),
    },
    'accumulated': {**ACCUMULATED, **BY_SAMPLE, **selection(granularity='sample')},
    'unrolled, accumulated': {**ACCUMULATED, **UNROLLED},
    'arrays': {**ARRAYS, **ACCUMULATED},
    'by iteration': {**BY_ITERATION, **BY_SAMPLE, **selection(granularity='sample')},
    'sync_bn': SYNC_BN,
    'unrolled, sync_bn': {**UNROLLED, **SYNC_BN},
    'scaled': {
        **AMP,
        'optim_wrapper.student.dtype': 'float64',
        'optim_wrapper.theta.dtype': 'float64',
    },
    'float32': SINGLE,
    'float32, unrolled': {**UNROLLED, **SINGLE},
    'bfloat16': {**AMP, **SINGLE},
    'bfloat16, unrolled': {**UNROLLED, **AMP, **SINGLE},
    'bfloat16 by shares': {**AMP, **SHARED},
    'bfloat16 by shares, unrolled': {**UNROLLED, **AMP, **SHARED},
    'a distiller each, with batch norm': {
        **MIXED_LOSSES,
        **SYNC_BN,
        'find_unused_parameters': True,
        'model.distiller': dict(_delete_=True, **{name: feature_distiller() for name in TEACHERS}),
    },
    'rivals': {
        'model.lanes': dict(
            search={},
            aekd=dict(selection=dict(type='mmdynakd.GradientSpace')),
            camkd=dict(
                selection=dict(type='mmdynakd.ConfidenceAware'),
                mix='losses',
                distiller=kd_distiller_cfg(reduction='none'),
            ),
            subset=dict(selection=dict(type='mmdynakd.RandomSubset')),
            ebkd=dict(selection=dict(type='mmdynakd.EntropyWeighted')),
            ce=dict(selection=None),
        )
    },
}
WORLDS = (1, 2, 4)
ON_ONE = {'bfloat16 by shares', 'bfloat16 by shares, unrolled'}  # it is two processes by itself
ON_FOUR = {
    'the paper',
    'unrolled, by class, gumbel',
    'accumulated',
    'unrolled, sync_bn',
    'rivals',
    'float32',
    'a distiller each, with batch norm',
}
RESUMED = {  # on how many processes the run is cut off, and where; on how many it goes on
    'one to two': (1, 2, (4, 'one to two')),
    'two to four': (2, 4, (4, 'evaluation')),
    'four to one': (4, 1, (5, 'four to one')),
}

UNEVEN = {'train': (65, 48), 'others': (64, 49)}  # samples; rank 1 has none for the last batch


def worlds(variant: str) -> tuple[int, ...]:
    """On how many processes a variant runs."""
    return (1,) if variant in ON_ONE else WORLDS if variant in ON_FOUR else (1, 2)


def searched(folder, variant: str, processes: int):
    """A search of six steps in float64; an epoch's last batch, of three, has 5 samples."""
    cfg = dist_config(folder, folder / str(processes) / variant, processes, *SIZES)
    cfg.model.type = 'DoubleDynaKD'
    del cfg.custom_hooks[0], cfg.train_cfg.val_interval
    if 'train_cfg.max_iters' in VARIANTS[variant]:
        del cfg.train_cfg.max_epochs, cfg.param_scheduler.student
    for key in (
        'val_cfg',
        'val_dataloader',
        'val_evaluator',
        'test_cfg',
        'test_dataloader',
        'test_evaluator',
    ):
        cfg[key] = None
    cfg.default_hooks.checkpoint = None
    cfg.merge_from_dict(VARIANTS[variant])
    return cfg


def resumable(folder, case: str, processes: int):
    """Both stages in float64, six steps each; a gradient waits for its step in each checkpoint."""
    cfg = dist_config(folder, folder / case, processes, *SIZES)
    cfg.model.type = 'DoubleDynaKD'
    cfg.default_hooks.checkpoint.type = 'mmdynakd.CheckpointHook'  # as launch.train does
    cfg.merge_from_dict(ACCUMULATED)
    cfg.custom_hooks.append(dict(type='CutOff'))
    return cfg
