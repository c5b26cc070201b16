# mmdynakd train configs/compose/at_r20_cifar100.py
# AT: attention maps of the three stages, summed over channels: one distiller serves teachers of any
# width.
_base_ = '../_base_/compose_features.py'


def _recorders():
    stages = {f's{i}': dict(type='ModuleOutputs', source=f'backbone.layer{i}') for i in (1, 2, 3)}
    return dict(_delete_=True, **stages)


def _both(name):
    return dict(s_feature=dict(from_student=True, recorder=name),
                t_feature=dict(from_student=False, recorder=name))


model = dict(distiller=dict(
    student_recorders=_recorders(), teacher_recorders=_recorders(),
    distill_losses=dict(_delete_=True,
                        **{f'loss_s{i}': dict(type='ATLoss', loss_weight=1000) for i in (1, 2, 3)}),
    loss_forward_mappings=dict(_delete_=True, **{f'loss_s{i}': _both(f's{i}') for i in (1, 2, 3)})))
