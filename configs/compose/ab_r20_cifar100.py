# mmdynakd train configs/compose/ab_r20_cifar100.py
# AB: on which side of zero a neuron is, before the ReLU. Here it is added to KD; the paper first
# trains with AB only.
_base_ = '../_base_/compose_features.py'


def _recorders(last):
    return dict(s3=dict(type='ModuleOutputs', source=f'backbone.layer3.{last}.bn2'),
                logits=dict(type='ModuleOutputs', source='head.fc'))


def _distiller(width, last):
    return dict(
        student_recorders=_recorders(2), teacher_recorders=_recorders(last),
        connectors=dict(student=dict(type='ConvModuleConnector', in_channel=64, out_channel=width,
                                     norm_cfg=dict(type='BN'), act_cfg=None)),
        distill_losses=dict(loss_ab=dict(type='ABLoss', loss_weight=1),
                            loss_kl=dict(type='KLDivergence', tau=4, loss_weight=0.9)),
        loss_forward_mappings=dict(
            loss_ab=dict(s_feature=dict(from_student=True, recorder='s3', connector='student'),
                         t_feature=dict(from_student=False, recorder='s3')),
            loss_kl=dict(preds_S=dict(from_student=True, recorder='logits'),
                         preds_T=dict(from_student=False, recorder='logits'))))


model = dict(distiller=dict(_delete_=True, resnet8x4=_distiller(256, 0), resnet32=_distiller(64, 4),
                            resnet14=_distiller(64, 1)))
