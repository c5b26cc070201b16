# mmdynakd train configs/compose/ft_r20_cifar100.py
# FT, second stage: the student's factor follows the paraphrased one (ft_paraphrasers_cifar100.py,
# run first).
_base_ = '../_base_/compose_features.py'


def _distiller(name, width):
    weights = dict(type='Pretrained', checkpoint='work_dirs/ft_paraphrasers_cifar100/epoch_10.pth',
                   prefix=f'lanes.all.distiller.distillers.{name}.connectors.paraphraser.')
    recorders = dict(s3=dict(type='ModuleOutputs', source='backbone.layer3'))
    return dict(
        student_recorders=recorders, teacher_recorders=recorders,
        connectors=dict(student=dict(type='Translator', in_channel=64, out_channel=32),
                        paraphraser=dict(type='Paraphraser', phase='train', in_channel=width,
                                         out_channel=32,
                                         init_cfg=weights)),
        distill_losses=dict(loss_ft=dict(type='FTLoss', loss_weight=100)),
        loss_forward_mappings=dict(loss_ft=dict(
            s_feature=dict(from_student=True, recorder='s3', connector='student'),
            t_feature=dict(from_student=False, recorder='s3', connector='paraphraser'))))


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller('resnet8x4', 256),
                            resnet32=_distiller('resnet32', 64),
                            resnet14=_distiller('resnet14', 64)))
