# mmdynakd train configs/compose/fitnet_r20_cifar100.py
# FitNet: the middle feature, with a connector per teacher; L2Loss divided by the number of
# elements.
_base_ = '../_base_/compose_features.py'
_stage2 = dict(s2=dict(type='ModuleOutputs', source='backbone.layer2'))


def _distiller(width):
    return dict(
        student_recorders=_stage2, teacher_recorders=_stage2,
        connectors=dict(student=dict(type='ConvModuleConnector', in_channel=32, out_channel=width,
                                     norm_cfg=dict(type='BN'), act_cfg=None)),
        distill_losses=dict(loss_hint=dict(type='L2Loss', loss_weight=100, normalize=False,
                                           div_element=True)),
        loss_forward_mappings=dict(loss_hint=dict(
            s_feature=dict(from_student=True, recorder='s2', connector='student'),
            t_feature=dict(from_student=False, recorder='s2'))))


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller(128), resnet32=_distiller(32),
                            resnet14=_distiller(32)))
