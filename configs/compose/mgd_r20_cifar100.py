# mmdynakd train configs/compose/mgd_r20_cifar100.py
# MGD: the teacher's feature is generated from the student's with random pixels masked.
_base_ = '../_base_/compose_features.py'
_stage3 = dict(s3=dict(type='ModuleOutputs', source='backbone.layer3'))


def _distiller(width):
    return dict(
        student_recorders=_stage3, teacher_recorders=_stage3,
        connectors=dict(student=dict(type='MGDConnector', student_channels=64,
                                     teacher_channels=width,
                                     lambda_mgd=0.15)),
        distill_losses=dict(loss_mgd=dict(type='MGDLoss', alpha_mgd=7e-5)),
        loss_forward_mappings=dict(loss_mgd=dict(
            preds_S=dict(from_student=True, recorder='s3', connector='student'),
            preds_T=dict(from_student=False, recorder='s3'))))


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller(256), resnet32=_distiller(64),
                            resnet14=_distiller(64)))
