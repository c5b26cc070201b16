# mmdynakd train configs/compose/pkd_r20_cifar100.py
# PKD: squared distance of features whose channels are standardised: their Pearson correlation.
_base_ = '../_base_/compose_features.py'
_stage3 = dict(s3=dict(type='ModuleOutputs', source='backbone.layer3'))


def _distiller(width):
    return dict(
        student_recorders=_stage3, teacher_recorders=_stage3,
        connectors=dict(student=dict(type='ConvModuleConnector', in_channel=64, out_channel=width,
                                     norm_cfg=dict(type='BN'), act_cfg=None)),
        distill_losses=dict(loss_pkd=dict(type='PKDLoss', loss_weight=10)),
        loss_forward_mappings=dict(loss_pkd=dict(
            preds_S=dict(from_student=True, recorder='s3', connector='student'),
            preds_T=dict(from_student=False, recorder='s3'))))


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller(256), resnet32=_distiller(64),
                            resnet14=_distiller(64)))
