# mmdynakd train configs/compose/ft_paraphrasers_cifar100.py
# FT, first stage: an autoencoder of every teacher's last feature (its encoder is the paraphraser);
# no student learns.
_base_ = '../_base_/compose_features.py'


def _distiller(width):
    feature = dict(from_student=False, recorder='s3')
    return dict(
        teacher_recorders=dict(s3=dict(type='ModuleOutputs', source='backbone.layer3')),
        connectors=dict(paraphraser=dict(type='Paraphraser', phase='pretrain', in_channel=width,
                                         out_channel=32)),
        distill_losses=dict(loss_rebuild=dict(type='L2Loss', normalize=False, div_element=True)),
        loss_forward_mappings=dict(loss_rebuild=dict(
            s_feature=feature, t_feature=dict(**feature, connector='paraphraser'))))


model = dict(student_loss_weight=0, lanes=dict(all=dict(selection=dict(type='mmdynakd.Average'))),
             distiller=dict(_delete_=True, resnet8x4=_distiller(256), resnet32=_distiller(64),
                            resnet14=_distiller(64)))
train_cfg = dict(max_epochs=10)
custom_hooks = []
param_scheduler = dict(student=dict(milestones=[5, 7, 9]))
