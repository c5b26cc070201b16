# mmdynakd train configs/compose/rkd_r20_cifar100.py
# RKD: distances and angles between the samples of a batch; one distiller serves teachers of any
# width.
_base_ = '../_base_/compose_features.py'


def _recorders():
    return dict(_delete_=True, pooled=dict(type='ModuleOutputs', source='neck.gap'))


def _both():
    return dict(preds_S=dict(from_student=True, recorder='pooled'),
                preds_T=dict(from_student=False, recorder='pooled'))


model = dict(distiller=dict(
    student_recorders=_recorders(), teacher_recorders=_recorders(),
    distill_losses=dict(_delete_=True, loss_distance=dict(type='DistanceWiseRKD', loss_weight=25),
                        loss_angle=dict(type='AngleWiseRKD', loss_weight=50)),
    loss_forward_mappings=dict(_delete_=True, loss_distance=_both(), loss_angle=_both())))
