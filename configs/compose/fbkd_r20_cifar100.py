# mmdynakd train configs/compose/fbkd_r20_cifar100.py
# FBKD, made for detectors: masks, pools and non-local relations, here of the last feature.
_base_ = '../_base_/compose_features.py'
_stage3 = dict(s3=dict(type='ModuleOutputs', source='backbone.layer3'))


def _distiller(width):
    return dict(
        student_recorders=_stage3, teacher_recorders=_stage3,
        connectors=dict(
            student=[dict(type='ConvModuleConnector', in_channel=64, out_channel=width),
                     dict(type='FBKDStudentConnector', in_channels=width)],
            teacher=dict(type='FBKDTeacherConnector', in_channels=width)),
        distill_losses=dict(loss_fbkd=dict(type='FBKDLoss')),
        loss_forward_mappings=dict(loss_fbkd=dict(
            s_input=dict(from_student=True, recorder='s3', connector='student'),
            t_input=dict(from_student=False, recorder='s3', connector='teacher'))))


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller(256), resnet32=_distiller(64),
                            resnet14=_distiller(64)))
