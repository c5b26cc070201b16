# mmdynakd train configs/compose/cwd_r20_cifar100.py
# CWD: divergence of the channels' spatial distributions.
_base_ = '../_base_/compose_features.py'
_stage3 = dict(s3=dict(type='ModuleOutputs', source='backbone.layer3'))


def _distiller(width):
    return dict(
        student_recorders=_stage3, teacher_recorders=_stage3,
        connectors=dict(student=dict(type='ConvModuleConnector', in_channel=64, out_channel=width,
                                     norm_cfg=dict(type='BN'), act_cfg=None)),
        distill_losses=dict(loss_cwd=dict(type='ChannelWiseDivergence', tau=4, loss_weight=1)),
        loss_forward_mappings=dict(loss_cwd=dict(
            preds_S=dict(from_student=True, recorder='s3', connector='student'),
            preds_T=dict(from_student=False, recorder='s3'))))


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller(256), resnet32=_distiller(64),
                            resnet14=_distiller(64)))
