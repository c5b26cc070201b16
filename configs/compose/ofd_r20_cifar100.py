# mmdynakd train configs/compose/ofd_r20_cifar100.py
# OFD: features before the ReLU, the teacher's cut off at a margin, which its BatchNorm gives.
_base_ = '../_base_/compose_features.py'


def _distiller(width, last):
    return dict(
        type='OFDDistiller',
        student_recorders=dict(s3=dict(type='ModuleOutputs', source='backbone.layer3.2.bn1')),
        teacher_recorders=dict(s3=dict(type='ModuleOutputs', source=f'backbone.layer3.{last}.bn1')),
        connectors=dict(student=dict(type='ConvModuleConnector', in_channel=64, out_channel=width,
                                     norm_cfg=dict(type='BN'), act_cfg=None),
                        margin=dict(type='OFDTeacherConnector')),
        distill_losses=dict(loss_ofd=dict(type='OFDLoss', loss_weight=1)),
        loss_forward_mappings=dict(loss_ofd=dict(
            s_feature=dict(from_student=True, recorder='s3', connector='student'),
            t_feature=dict(from_student=False, recorder='s3', connector='margin'))))


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller(256, 0), resnet32=_distiller(64, 4),
                            resnet14=_distiller(64, 1)))
