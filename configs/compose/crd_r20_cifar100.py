# mmdynakd train configs/compose/crd_r20_cifar100.py
# CRD: one memory bank of 51 MB per teacher; its last 5,000 rows are val's images.
_base_ = '../_base_/compose_features.py'


def _distiller(width):
    pooled = dict(type='ModuleOutputs', source='neck.gap')
    return dict(
        student_recorders=dict(pooled=pooled, inputs=dict(type='ModuleInputs', source='')),
        teacher_recorders=dict(pooled=pooled),
        connectors={side: dict(type='CRDConnector', dim_in=dim)
                    for side, dim in (('student', 64), ('teacher', width))},
        distill_losses=dict(loss_crd=dict(type='CRDLoss', neg_num=4096, sample_n=50000)),
        loss_forward_mappings=dict(loss_crd=dict(
            s_feats=dict(from_student=True, recorder='pooled', connector='student'),
            t_feats=dict(from_student=False, recorder='pooled', connector='teacher'),
            data_samples=dict(from_student=True, recorder='inputs', data_idx=1))))


def _contrast(dataset, first_row):
    return dict(_delete_=True, type='mmdynakd.ContrastDataset', num_negatives=4096,
                first_row=first_row, dataset=dataset)


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller(256), resnet32=_distiller(64),
                            resnet14=_distiller(64)))
train_dataloader = dict(dataset=_contrast({{_base_.train_dataloader.dataset}}, 0))
_val = _contrast({{_base_.upper_dataloader.dataset}}, 45000)
train_cfg = dict(upper_dataloader=dict(dataset=_val))
default_hooks = dict(checkpoint=dict(interval=20))  # the banks of all lanes: about a gigabyte
